"""The vocabularies of tables: sound by themselves, in range, and the ones that the sidecar recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from embsnap.errors import ErrorKind
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import Progress
from embsnap.model.vocab_validation import VocabValidation
from embsnap.ops.verify.checked import Checked, Skipped
from embsnap.ops.vocab_validate import VocabValidateOptions, validate_vocabulary
from embsnap.ops.vocabulary_findings import ROW_GAPS

__all__ = ["check_vocabularies"]


def check_vocabularies(
    snapshot: Snapshot,
    uris: Mapping[str, str],
    *,
    storage_options: Mapping[str, str],
    threads: int,
    progress: Progress,
) -> Checked | Skipped:
    """Check the vocabularies at `uris`, by table. Rows without an entity are a note here.

    Raises:
        NotFoundError: There is no such table, or no such vocabulary.
        SnapshotError: A table cannot be read as it stands, or a file is damaged.
        StorageError: The storage failed.
    """
    if not uris:
        return Skipped(_why_not(snapshot))
    num_entities, findings = 0, []
    for name, uri in uris.items():
        table = snapshot.table(name, with_state=False)
        options = VocabValidateOptions(
            num_embeddings=table.num_embeddings, threads=threads, storage_options=storage_options
        )
        found = validate_vocabulary(uri, options, progress=progress)
        num_entities += found.num_entities
        findings += [_graded(finding) for finding in found.findings]
        findings += _compare(snapshot, table.name, found)
    return Checked(num_entities, "entities", tuple(findings))


def _why_not(snapshot: Snapshot) -> str:
    recorded = snapshot.sidecar.tables if snapshot.sidecar is not None else {}
    if not recorded:
        return "no vocabulary was given; --vocab TABLE=URI names one"
    name, vocabulary = next(iter(recorded.items()))
    return f"no vocabulary was given; the sidecar records {len(recorded)}: --vocab {name}={vocabulary.uri}"


def _graded(finding: Finding) -> Finding:
    return replace(finding, severity=Severity.NOTE) if finding.kind == ROW_GAPS else finding


def _compare(snapshot: Snapshot, table: str, found: VocabValidation) -> Iterator[Finding]:
    recorded = snapshot.sidecar.tables.get(table) if snapshot.sidecar is not None else None
    if recorded is None:
        message = f"the sidecar records no vocabulary of the table {table}, so that nothing ties the two together"
        yield Finding(Severity.NOTE, "unrecorded-vocabulary", found.uri, message)
    elif found.fingerprint not in (None, recorded.fingerprint):
        message = f"its fingerprint is {found.fingerprint}, and {table} was written with {recorded.fingerprint}"
        remedy = f"give an unchanged copy of {recorded.uri}"
        yield Finding(Severity.ERROR, ErrorKind.VOCABULARY_MISMATCH.value, found.uri, message, remedy)

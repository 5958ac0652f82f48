"""Writing what is imported: vocabularies just before the commit, so that no snapshot names one that is not there."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

from embsnap.errors import EmbsnapError, ErrorKind, UsageError
from embsnap.formats import vocabulary_writer
from embsnap.formats.sidecar import Lineage, TableVocabulary
from embsnap.formats.torchsnapshot.contents import ArrayToWrite
from embsnap.formats.torchsnapshot.destination import check_destination
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.torchsnapshot.writer import write_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.model.exchange import ImportResult
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.importing.plan import ImportPlan, PlannedImport
from embsnap.storage.uri import absolute_uri, open_store, split_uri

__all__ = ["write_import"]


def write_import(plan: ImportPlan, *, progress: Progress = SILENT) -> ImportResult:
    """Write the tables as a new snapshot, and the vocabularies. What was written before a failure is removed.

    Raises:
        UsageError: `bad-option`: the plan has no destination.
        RefusedError: `destination-taken`: the snapshot's, or a vocabulary's.
        SnapshotError, IncompatibleError: A file is damaged, or its vectors differ in length.
        StorageError: The disk is full, temporary files have no room, or the storage failed.
    """
    if plan.out is None:
        raise UsageError(ErrorKind.BAD_OPTION, "the plan has no destination", expected="one", hint="plan it with `out`")
    began = monotonic()
    options, storage = plan.options, plan.options.storage_options
    store = open_store(plan.out, storage)
    check_destination(store)
    for planned in plan.tables:
        if planned.table.vocab is not None:
            vocabulary_writer.check_destination(planned.table.vocab, storage)
    for planned in plan.tables:
        progress.start(f"read {planned.table.name}", planned.table.num_vectors, "rows")
        planned.rows.vectors.prepare()
        progress.advance(f"read {planned.table.name}", planned.table.num_vectors)
        progress.finish(f"read {planned.table.name}")
    written: list[str] = []
    try:
        found = write_snapshot(
            store,
            [_array(planned) for planned in plan.tables],
            plan_digest=plan.result.plan_digest,
            vocabularies=_vocabularies(plan),
            lineage=_lineage(plan),
            threads=options.threads,
            progress=progress,
            before_commit=lambda: _write_vocabularies(plan, written),
        )
    except BaseException:
        if not _is_committed(plan):
            for uri in written:
                root, name = split_uri(uri)
                open_store(root, storage).delete(name)
        raise
    findings = (*plan.result.findings, *found.notes)
    return replace(plan.result, destination=found.uri, seconds=monotonic() - began, findings=findings)


def _array(planned: PlannedImport) -> ArrayToWrite:
    table = planned.table
    return ArrayToWrite(table.path, DTYPES[table.dtype], (table.num_embeddings, table.dim), planned.rows)


def _vocabularies(plan: ImportPlan) -> dict[str, TableVocabulary]:
    return {
        table.name: TableVocabulary(absolute_uri(table.vocab), table.fingerprint)
        for table in plan.result.tables
        if table.vocab is not None and table.fingerprint is not None
    }


def _write_vocabularies(plan: ImportPlan, written: list[str]) -> None:
    for planned in plan.tables:
        if planned.vocabulary is not None and planned.table.vocab is not None:
            uri = vocabulary_writer.write_vocabulary(
                planned.vocabulary,
                planned.table.vocab,
                options=plan.options.storage_options,
                threads=plan.options.threads,
            )
            written.append(uri)


def _lineage(plan: ImportPlan) -> Lineage:
    tables = plan.result.tables
    return Lineage(
        parents=(),
        command="import",
        plan_digest=plan.result.plan_digest,
        counts={table.name: {"imported": table.num_vectors, "new": table.num_drawn} for table in tables},
        extra={"sources": {table.name: {"uri": table.source, "format": table.format.value} for table in tables}},
    )


def _is_committed(plan: ImportPlan) -> bool:
    """Whether the snapshot stands all the same: an interrupt can come right after its commit."""
    assert plan.out is not None
    try:
        sidecar = open_snapshot(plan.out, options=plan.options.storage_options).sidecar
    except EmbsnapError:
        return False
    lineage = None if sidecar is None else sidecar.lineage
    return lineage is not None and lineage.plan_digest == plan.result.plan_digest

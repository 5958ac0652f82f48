"""All that is wrong with one vocabulary, whether it can be read as it stands or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.vocabulary import VocabularyColumns, read_vocabulary
from embsnap.formats.vocabulary_tolerant import read_sound_records
from embsnap.model.findings import Finding, Severity, worst
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocab_validation import Check, VocabValidation
from embsnap.model.vocabulary import Declared, IdType, Vocabulary
from embsnap.ops.vocab_gaps import holes_of, taken_rows, undeclared_gaps
from embsnap.ops.vocab_lookalikes import look_alikes
from embsnap.ops.vocabulary import check_vocabulary, fingerprint_of
from embsnap.ops.vocabulary_findings import ROW_GAPS

__all__ = ["VocabValidateOptions", "validate_vocabulary"]

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabValidateOptions:
    """What a vocabulary is checked against."""

    num_embeddings: int | None = None
    """Rows of its table; as its metadata say if None, and as many as it needs if they do not."""
    reserved: Sequence[tuple[int, int]] = ()
    """Rows `[start, end)` that need no entity and may hold none, beside those that its metadata declare."""
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    threads: int = 1
    storage_options: Mapping[str, str] = field(default_factory=dict)


def validate_vocabulary(
    uri: str, options: VocabValidateOptions | None = None, *, progress: Progress = SILENT
) -> VocabValidation:
    """Make every check that can be made, and collect all findings.

    Values that cannot be, columns that are missing and files of different id types are findings too; the records that
    are sound are checked all the same.

    Raises:
        NotFoundError: No parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    options = options or VocabValidateOptions()
    vocabularies, defects = _read(uri, options, progress)
    is_whole = not defects
    declared = next((found.declared for found in vocabularies if found.declared is not None), Declared())
    num_embeddings = declared.num_rows if options.num_embeddings is None else options.num_embeddings
    num_entities = sum(map(len, vocabularies))
    findings = list(defects)
    if not num_entities and is_whole:
        findings.append(_empty(uri))
    fingerprint = None
    for vocabulary in vocabularies:
        findings += _findings(vocabulary, declared, num_embeddings, options)
    if is_whole and num_entities:
        fingerprint = fingerprint_of(vocabularies[0], threads=options.threads)
        findings += _fingerprint_mismatch(uri, declared, fingerprint)
    return VocabValidation(
        uri=uri,
        num_entities=num_entities,
        id_types=tuple(found.id_type.value for found in vocabularies),
        fingerprint=fingerprint,
        num_embeddings=num_embeddings,
        checks=tuple(_checks(vocabularies, declared, num_embeddings, options, is_whole)),
        findings=tuple(findings),
        ok=worst(findings) not in (Severity.ERROR, Severity.WARNING),
    )


def _read(uri: str, options: VocabValidateOptions, progress: Progress) -> tuple[list[Vocabulary], tuple[Finding, ...]]:
    """The vocabulary, or the sound records of each id type with what is wrong with the rest."""
    columns, storage, threads = options.columns, options.storage_options, options.threads
    try:
        return [read_vocabulary(uri, columns=columns, options=storage, threads=threads, progress=progress)], ()
    except IncompatibleError as error:
        vocabularies, findings = read_sound_records(uri, columns=columns, options=storage, threads=threads)
        if worst(findings) is Severity.ERROR:
            return vocabularies, findings
        found = "" if error.found is None else f" (found {error.found})"
        defect = Finding(Severity.ERROR, error.kind.value, uri, f"{error.problem}{found}", error.hint or "")
        return vocabularies, (*findings, defect)


def _findings(
    vocabulary: Vocabulary, declared: Declared, num_embeddings: int | None, options: VocabValidateOptions
) -> Iterator[Finding]:
    threads = options.threads
    for finding in check_vocabulary(vocabulary, num_embeddings, threads=threads):
        if finding.kind != ROW_GAPS:
            yield finding
    special = (*options.reserved, *declared.special)
    holes = holes_of(vocabulary.rows_N, num_embeddings)
    yield from undeclared_gaps(vocabulary.uri, holes, (*special, *declared.free))
    yield from taken_rows(vocabulary, special)
    yield from look_alikes(vocabulary, threads=threads)
    yield from _unsorted(vocabulary)


def _unsorted(vocabulary: Vocabulary) -> Iterator[Finding]:
    rows_N, count = vocabulary.rows_N, 0
    for start in range(0, len(rows_N), _BLOCK):
        block = rows_N[start : start + _BLOCK + 1]
        count += int(np.count_nonzero(block[1:] < block[:-1]))
    if count:
        message = f"the rows are not in ascending order: {count:,} {'step' if count == 1 else 'steps'} back"
        remedy = "sort by row: the file gets smaller, and rows are found without reading all of it"
        yield Finding(Severity.NOTE, "unsorted-rows", vocabulary.uri, message, remedy, count)


def _fingerprint_mismatch(uri: str, declared: Declared, fingerprint: str) -> list[Finding]:
    if declared.fingerprint is None or declared.fingerprint == fingerprint:
        return []
    message = f"its metadata record the fingerprint {declared.fingerprint}, and what is read has {fingerprint}"
    remedy = "files were changed, added or left out after it was written: write it again"
    return [Finding(Severity.ERROR, ErrorKind.VOCABULARY_MISMATCH.value, uri, message, remedy)]


def _empty(uri: str) -> Finding:
    remedy = "check that whatever wrote the vocabulary has finished"
    return Finding(Severity.ERROR, ErrorKind.BAD_VOCABULARY.value, uri, "the vocabulary is empty", remedy)


def _checks(
    vocabularies: Sequence[Vocabulary],
    declared: Declared,
    num_embeddings: int | None,
    options: VocabValidateOptions,
    is_whole: bool,
) -> Iterator[Check]:
    """What was looked for, and what could not be."""
    yield Check("nulls, negative rows, types")
    none = None if sum(map(len, vocabularies)) else "there is no sound record"
    yield Check("duplicate ids", none)
    yield Check("duplicate rows", none)
    yield Check("gaps", none)
    beyond = "neither --num-embeddings nor the metadata say how many rows there are" if num_embeddings is None else None
    yield Check("rows out of range", none or beyond)
    has_special = options.reserved or declared.special
    yield Check("reserved rows", none or (None if has_special else "no row is declared reserved"))
    has_strings = any(found.id_type is IdType.STRING for found in vocabularies)
    yield Check("look-alike ids", none or (None if has_strings else "the ids are no strings"))
    yield Check("order of rows", none)
    recorded = None if declared.fingerprint is not None else "the metadata record none"
    yield Check("fingerprint", none or (recorded if is_whole else "not every record could be read"))

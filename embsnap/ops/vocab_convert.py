"""Converting vocabularies from and to what other systems keep.

plan = plan_conversion("categories/unique.user.parquet")     every check of the source is made here
write_conversion(plan, "user.parquet")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from embsnap import __version__
from embsnap.formats.managed_collision import read_managed_collision
from embsnap.formats.nvtabular import read_nvtabular, write_nvtabular
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import open_vocabulary
from embsnap.formats.vocabulary_columns import is_id_column
from embsnap.formats.vocabulary_csv import read_csv, write_csv
from embsnap.formats.vocabulary_lines import read_lines, write_lines
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.kernels.take import take_ids
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocab_conversion import VocabConversion, VocabFormat
from embsnap.model.vocabulary import Declared, IdType, Vocabulary
from embsnap.ops.vocab_formats import ConvertOptions, check_options, told_source, told_target
from embsnap.ops.vocabulary import check_vocabulary, fingerprint_of
from embsnap.ops.vocabulary_findings import ROW_GAPS, refuse_errors

__all__ = ["ConvertPlan", "plan_conversion", "write_conversion"]

_DONOR = "donor"
_DELIMITERS = {VocabFormat.CSV: ",", VocabFormat.TSV: "\t"}


@dataclass(frozen=True, slots=True, eq=False)
class ConvertPlan:
    """A vocabulary that has been read and checked, and not yet written."""

    vocabulary: Vocabulary
    result: VocabConversion
    options: ConvertOptions


def plan_conversion(
    uri: str, out: str | None = None, options: ConvertOptions | None = None, *, progress: Progress = SILENT
) -> ConvertPlan:
    """Read a vocabulary and check it.

    Args:
        uri: What to convert.
        out: Where it is to be written, which tells the format; parquet if it is not given.
        options: See there.
        progress: Is told how far the reading of parquet is.

    Raises:
        UsageError: `bad-option`: a format cannot be told or written, or an option means nothing to the two formats.
        IncompatibleError: The source is no vocabulary, or has duplicate ids or rows.
        NotFoundError, SnapshotError, StorageError: The source cannot be read.
    """
    options = options or ConvertOptions()
    source = options.source or told_source(uri, options)
    target = options.target or told_target(out)
    check_options(source, target, options)
    vocabulary = _readers(uri, options, progress)[source]()
    found = check_vocabulary(vocabulary, None, threads=options.threads)
    refuse_errors(finding for finding in found if finding.kind != ROW_GAPS)
    declared = _with_provenance(vocabulary, uri, source)
    vocabulary = replace(vocabulary, declared=declared)
    result = VocabConversion(
        source=uri,
        source_format=source,
        target_format=target,
        destinations=(),
        num_entities=len(vocabulary),
        id_type=vocabulary.id_type.value,
        first_row=int(vocabulary.rows_N.min()),
        last_row=int(vocabulary.rows_N.max()),
        has_counts=vocabulary.counts_N is not None,
        fingerprint=fingerprint_of(vocabulary, threads=options.threads),
        reserved=declared.reserved,
        oov=declared.oov,
        findings=(*vocabulary.findings, *_losses(vocabulary, target)),
    )
    return ConvertPlan(vocabulary, result, options)


def write_conversion(plan: ConvertPlan, out: str) -> VocabConversion:
    """Write the vocabulary.

    Args:
        plan: What to write, and in which format.
        out: A file; for NVTabular a directory; for parquet either.

    Raises:
        IncompatibleError: `not-representable`: that format cannot hold this vocabulary.
        RefusedError: `destination-taken`.
        StorageError: The disk is full, or the storage failed.
    """
    options, target = plan.options, plan.result.target_format
    storage = options.storage_options
    if target is VocabFormat.PARQUET:
        written = (write_vocabulary(plan.vocabulary, out, options=storage, threads=options.threads),)
        return replace(plan.result, destinations=written)
    vocabulary = _by_row(plan.vocabulary)
    if target is VocabFormat.NVTABULAR:
        assert options.column is not None
        return replace(plan.result, destinations=write_nvtabular(vocabulary, out, options.column, options=storage))
    if target is VocabFormat.TEXT:
        return replace(plan.result, destinations=(write_lines(vocabulary, out, options=storage),))
    written = (write_csv(vocabulary, out, delimiter=_DELIMITERS[target], options=storage),)
    return replace(plan.result, destinations=written)


def _readers(uri: str, options: ConvertOptions, progress: Progress) -> Mapping[VocabFormat, Callable[[], Vocabulary]]:
    storage, threads = options.storage_options, options.threads
    text_type = options.id_type or IdType.STRING
    return {
        VocabFormat.PARQUET: lambda: _read_parquet(uri, options, progress),
        VocabFormat.NVTABULAR: lambda: read_nvtabular(uri, _column_read(options), options=storage, threads=threads),
        VocabFormat.TEXT: lambda: read_lines(uri, text_type, options=storage),
        VocabFormat.CSV: lambda: read_csv(uri, delimiter=",", id_type=options.id_type, options=storage),
        VocabFormat.TSV: lambda: read_csv(uri, delimiter="\t", id_type=options.id_type, options=storage),
        VocabFormat.ZCH: lambda: read_managed_collision(open_snapshot(uri, options=storage), options.table),
    }


def _read_parquet(uri: str, options: ConvertOptions, progress: Progress) -> Vocabulary:
    """With the donors that `vocab extend` writes, if all files have them."""
    storage, threads = options.storage_options, options.threads
    files = open_vocabulary(uri, columns=options.columns, options=storage, threads=threads)
    layout = files.layout
    have = (file.names.count(_DONOR) == 1 and is_id_column(file, _DONOR, layout.id_type) for file in files.objects)
    if layout.id != _DONOR and all(have):
        files = replace(files, layout=replace(layout, donor=_DONOR))
    return files.read_all(progress=progress)


def _column_read(options: ConvertOptions) -> str | None:
    return None if options.target is VocabFormat.NVTABULAR else options.column


def _with_provenance(vocabulary: Vocabulary, uri: str, source: VocabFormat) -> Declared:
    declared = vocabulary.declared or Declared()
    known = declared.provenance.get("options")
    options = {**(known if isinstance(known, Mapping) else {}), "from": source.value}
    provenance = {
        "tool": f"embsnap {__version__}",
        "command": "vocab convert",
        "inputs": [{"uri": uri}],
        "options": options,
    }
    return replace(declared, provenance=provenance)


def _losses(vocabulary: Vocabulary, target: VocabFormat) -> list[Finding]:
    """A note for each thing that the format has no place for."""
    if target is VocabFormat.PARQUET:
        return []
    is_text, is_table = target is VocabFormat.TEXT, target in _DELIMITERS
    declared = vocabulary.declared or Declared()
    num_rows, num_told = declared.num_rows or 0, int(vocabulary.rows_N.max()) + 1
    lost = {
        "counts": is_text and vocabulary.counts_N is not None,
        "donors": vocabulary.donors is not None,
        "last_seen": vocabulary.last_seen_N is not None,
        "reserved and OOV rows that it declares": (is_text or is_table) and bool(declared.special),
        "free rows that it declares": bool(declared.free),
        f"that its table has {num_rows:,} rows, and not {num_told:,}": num_rows > num_told,
    }
    is_untold = vocabulary.id_type is not IdType.STRING if is_text else vocabulary.id_type is IdType.UINT64
    notes = [_note(vocabulary, f"not written: {what}", "") for what, is_lost in lost.items() if is_lost]
    if (is_text or is_table) and is_untold:
        remedy = f"read it again with --id-type {vocabulary.id_type}"
        notes.append(_note(vocabulary, f"the file does not tell that ids are {vocabulary.id_type}", remedy))
    return notes


def _note(vocabulary: Vocabulary, message: str, remedy: str) -> Finding:
    return Finding(Severity.NOTE, "not-written", vocabulary.uri, message, remedy)


def _by_row(vocabulary: Vocabulary) -> Vocabulary:
    rows_N = vocabulary.rows_N
    if bool((rows_N[1:] > rows_N[:-1]).all()):
        return vocabulary
    order = np.argsort(rows_N)
    counts_N = None if vocabulary.counts_N is None else vocabulary.counts_N[order]
    ids, findings, declared = take_ids(vocabulary.ids, order), vocabulary.findings, vocabulary.declared
    return Vocabulary(
        vocabulary.uri, vocabulary.id_type, ids, rows_N[order], counts_N, findings=findings, declared=declared
    )

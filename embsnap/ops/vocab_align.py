"""Aligning two vocabularies, and writing the row map from one to the other.

    plan = plan_alignment("monday/user", "tuesday/user")     every check is made here
    write_alignment(plan, "remap.parquet")

Shape suffixes: N entities of the new vocabulary, V rows of the new table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from embsnap import __version__
from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.remap import write_remap
from embsnap.formats.vocabulary import VocabularyColumns, read_vocabulary
from embsnap.formats.vocabulary_writer import check_destination
from embsnap.kernels.take import take_ids
from embsnap.model.progress import SILENT, Progress
from embsnap.model.remap import RemapOrigin
from embsnap.model.rowmap import RowMap
from embsnap.model.vocab_alignment import AlignedVocab, VocabAlignment
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.vocabulary import align, fingerprint_of

__all__ = ["AlignOptions", "AlignPlan", "align_vocabularies", "plan_alignment", "write_alignment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignOptions:
    """For which tables, and what is written."""

    num_embeddings: int | None = None
    """Rows of the new table; None for what the new vocabulary declares, or else needs."""
    num_old_rows: int | None = None
    """Rows of the old table; None likewise."""
    with_ids: bool = True
    """Whether the entity of each new row is written beside it."""
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    """Of both vocabularies."""
    threads: int = 1
    storage_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class AlignPlan:
    """A row map that has not been written yet."""

    new: Vocabulary
    row_map: RowMap
    result: VocabAlignment
    options: AlignOptions


def plan_alignment(
    old_uri: str, new_uri: str, options: AlignOptions | None = None, *, progress: Progress = SILENT
) -> AlignPlan:
    """Read two vocabularies and join them by entity id.

    Raises:
        IncompatibleError: A vocabulary is not sound, does not fit its table, or no entity is in both.
        UsageError: `bad-option`: a number of rows makes no sense.
        NotFoundError, SnapshotError, StorageError: As `read_vocabulary`.
    """
    options = options or AlignOptions()
    old, new = (
        read_vocabulary(
            uri,
            columns=options.columns,
            options=options.storage_options,
            threads=options.threads,
            progress=progress,
        )
        for uri in (old_uri, new_uri)
    )
    return align_vocabularies(old, new, options)


def align_vocabularies(old: Vocabulary, new: Vocabulary, options: AlignOptions | None = None) -> AlignPlan:
    """The same for vocabularies in memory.

    Raises:
        IncompatibleError: As `embsnap.ops.vocabulary.align`.
        UsageError: `bad-option`.
    """
    options = options or AlignOptions()
    num_new_rows = _num_rows(new, options.num_embeddings, "--num-embeddings")
    num_old_rows = _num_rows(old, options.num_old_rows, "--num-old-rows")
    row_map, findings = align(old, new, num_new_rows=num_new_rows, num_old_rows=num_old_rows, threads=options.threads)
    coverage = row_map.coverage
    assert coverage is not None, "an empty vocabulary has no overlap, which is refused"
    result = VocabAlignment(
        old=_side(old, num_old_rows, options.threads),
        new=_side(new, num_new_rows, options.threads),
        num_carried=row_map.num_carried,
        num_moved=int(np.count_nonzero((row_map.row_V >= 0) & (row_map.row_V != np.arange(num_new_rows)))),
        num_new=row_map.num_new,
        num_dropped=row_map.num_dropped,
        num_unoccupied=row_map.num_unoccupied,
        coverage=coverage,
        weighted_coverage=row_map.weighted_coverage,
        with_ids=options.with_ids,
        destination=None,
        findings=findings,
    )
    return AlignPlan(new, row_map, result, options)


def write_alignment(plan: AlignPlan, uri: str) -> VocabAlignment:
    """Write the row map as parquet: a record for each entity of the new vocabulary, by its row.

    Args:
        plan: What to write.
        uri: A file that ends in `.parquet` or `.pq`; otherwise an empty directory, which gets one file.

    Raises:
        RefusedError: `destination-taken`.
        StorageError: The disk is full, or the storage failed.
    """
    options, rows_N = plan.options, plan.new.rows_N
    check_destination(uri, options.storage_options)
    order = None if bool((rows_N[1:] > rows_N[:-1]).all()) else np.argsort(rows_N)
    new_rows_N = rows_N if order is None else rows_N[order]
    ids = None
    if options.with_ids:
        ids = plan.new.ids if order is None else take_ids(plan.new.ids, order)
    destination = write_remap(
        uri,
        new_rows_N,
        plan.row_map.row_V[new_rows_N],
        origin=_origin(plan.result),
        ids=ids,
        id_type=plan.new.id_type,
        options=options.storage_options,
    )
    return replace(plan.result, destination=destination)


def _origin(result: VocabAlignment) -> RemapOrigin:
    inputs = [{"uri": side.uri, "fingerprint": side.fingerprint} for side in (result.old, result.new)]
    return RemapOrigin(
        old_fingerprint=result.old.fingerprint,
        new_fingerprint=result.new.fingerprint,
        num_old_rows=result.old.num_rows,
        num_new_rows=result.new.num_rows,
        provenance={"tool": f"embsnap {__version__}", "command": "vocab align", "inputs": inputs, "options": {}},
    )


def _side(vocabulary: Vocabulary, num_rows: int, threads: int) -> AlignedVocab:
    return AlignedVocab(vocabulary.uri, fingerprint_of(vocabulary, threads=threads), len(vocabulary), num_rows)


def _num_rows(vocabulary: Vocabulary, given: int | None, option: str) -> int:
    if given is None:
        declared = None if vocabulary.declared is None else vocabulary.declared.num_rows
        return max(int(vocabulary.rows_N.max(initial=-1)) + 1, declared or 0)
    if given < 1:
        raise UsageError(ErrorKind.BAD_OPTION, "is too small", where=option, expected="1 or more", found=given)
    return given

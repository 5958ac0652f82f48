"""Which old row each row of one new table takes.

Shape suffixes: V rows of the new table, N entities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embsnap.config.embedding import EmbeddingBagConfig, ReservedPolicy, ReservedRowsConfig
from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError
from embsnap.kernels.hashing import id_keys
from embsnap.kernels.join import join
from embsnap.model.findings import Finding, Severity
from embsnap.model.rowmap import RowMap
from embsnap.model.vocabulary import BytesIds, Ids, Vocabulary
from embsnap.ops.vocabulary import align, check_vocabulary
from embsnap.ops.vocabulary_findings import ROW_GAPS, refuse_errors
from embsnap.ops.warmstart.result import Alignment, RowCounts
from embsnap.ops.warmstart.sources import OldTable, Sources, VocabularyRef, check_vocabularies_given

__all__ = ["TableMapping", "map_table"]


@dataclass(frozen=True, slots=True, eq=False)
class TableMapping:
    """Which old row each new row takes, and what the vocabularies said."""

    alignment: Alignment
    counts: RowCounts
    row_V: NDArray[np.int64] | None = None
    new_rows_N: NDArray[np.int64] | None = None
    new_keys_N: NDArray[np.uint64] | None = None
    donor_row_N: NDArray[np.int64] | None = None
    old_rows_N: NDArray[np.int64] | None = None
    donor_row: int | None = None
    coverage: float | None = None
    weighted_coverage: float | None = None
    vocabularies: tuple[VocabularyRef | None, VocabularyRef | None] = (None, None)
    """Old and new."""
    num_entities: int = 0
    """In both vocabularies together, as they were in memory."""
    findings: tuple[Finding, ...] = ()


def map_table(
    table: EmbeddingBagConfig, old: OldTable | None, sources: Sources, *, identical: bool, threads: int
) -> TableMapping:
    """Read the vocabularies of one table, join them, and apply the policy for reserved rows.

    Args:
        table: The new table's config.
        old: What it starts from; None for a cold start.
        sources: Reads vocabularies.
        identical: Refuse anything but the same entities in the same rows.
        threads: Of the join.

    Raises:
        IncompatibleError: The vocabularies do not fit each other or the tables.
        UsageError: Only one side has a vocabulary.
    """
    mapping = _map_rows(table, old, sources, identical, threads)
    if table.reserved is None or mapping.alignment is Alignment.POSITION:
        return mapping
    return _reserve(table.reserved, mapping, table, old)


def _map_rows(
    table: EmbeddingBagConfig, old: OldTable | None, sources: Sources, identical: bool, threads: int
) -> TableMapping:
    if old is None:
        return _map_cold(table, sources, threads)
    assert table.pretrained is not None
    if table.pretrained.by_position:
        return _map_by_position(table, old, sources, threads)
    check_vocabularies_given(table, old)
    if table.vocab is None:
        return _map_by_position(table, old, sources, threads)
    mapping = _map_by_vocabulary(table, old, sources, threads)
    if identical:
        _check_identical(table, old, mapping)
    return mapping


def _map_cold(table: EmbeddingBagConfig, sources: Sources, threads: int) -> TableMapping:
    found = sources.new_vocabulary(table)
    if found is None:
        return TableMapping(Alignment.COLD, RowCounts(0, 0, 0, 0, table.num_embeddings))
    vocabulary, ref = found
    findings = _check_new(vocabulary, table, threads)
    order_N = np.argsort(vocabulary.rows_N)
    counts = RowCounts(0, len(vocabulary), 0, 0, table.num_embeddings - len(vocabulary))
    keys_N = id_keys(vocabulary.ids)[order_N]
    return TableMapping(
        Alignment.COLD,
        counts,
        new_rows_N=vocabulary.rows_N[order_N],
        new_keys_N=keys_N,
        vocabularies=(None, ref),
        num_entities=len(vocabulary),
        findings=findings,
    )


def _map_by_position(table: EmbeddingBagConfig, old: OldTable, sources: Sources, threads: int) -> TableMapping:
    if old.table.num_embeddings != table.num_embeddings:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "rows can be carried by position only into a table of as many rows",
            where=f"table {table.name}, from {old.table.name} in {old.snapshot.uri}",
            expected=f"num_embeddings {old.table.num_embeddings}",
            found=table.num_embeddings,
            hint="set num_embeddings to the snapshot's, or give both sides a vocabulary",
        )
    counts = RowCounts(table.num_embeddings, 0, 0, 0, 0)
    found = sources.new_vocabulary(table)
    if found is None:
        return TableMapping(Alignment.POSITION, counts)
    vocabulary, ref = found
    findings = _check_new(vocabulary, table, threads)
    return TableMapping(
        Alignment.POSITION, counts, vocabularies=(None, ref), num_entities=len(vocabulary), findings=findings
    )


def _map_by_vocabulary(table: EmbeddingBagConfig, old: OldTable, sources: Sources, threads: int) -> TableMapping:
    old_vocabulary, old_ref = sources.old_vocabulary(table, old)
    found = sources.new_vocabulary(table)
    assert found is not None
    new_vocabulary, new_ref = found
    row_map, findings = align(
        old_vocabulary,
        new_vocabulary,
        num_new_rows=table.num_embeddings,
        num_old_rows=old.table.num_embeddings,
        reserved=_reserved_range(table),
        threads=threads,
    )
    counts = RowCounts(row_map.num_carried, row_map.num_new, row_map.num_dropped, 0, row_map.num_unoccupied)
    return TableMapping(
        Alignment.VOCABULARY,
        counts,
        row_map.row_V,
        row_map.new_rows_N,
        row_map.new_keys_N,
        _donor_rows(old_vocabulary, new_vocabulary, row_map, table.num_embeddings, threads),
        old_vocabulary.rows_N if _needs_occupied_rows(table) else None,
        _donor_row(table, old_vocabulary),
        row_map.coverage,
        row_map.weighted_coverage,
        (old_ref, new_ref),
        len(old_vocabulary) + len(new_vocabulary),
        findings,
    )


def _reserved_range(table: EmbeddingBagConfig) -> tuple[int, int] | None:
    return None if table.reserved is None else (table.reserved.start, table.reserved.end)


def _check_new(vocabulary: Vocabulary, table: EmbeddingBagConfig, threads: int) -> tuple[Finding, ...]:
    """Refuse a vocabulary that does not fit its table; gaps are rows to be drawn, and only noted."""
    found = check_vocabulary(vocabulary, table.num_embeddings, reserved=_reserved_range(table), threads=threads)
    findings = tuple(
        replace(finding, severity=Severity.NOTE) if finding.kind == ROW_GAPS else finding for finding in found
    )
    refuse_errors(findings)
    return findings


def _needs_occupied_rows(table: EmbeddingBagConfig) -> bool:
    return table.initializer_or_default.kind in ("mean", "mean_covariance")


def _donor_row(table: EmbeddingBagConfig, old_vocabulary: Vocabulary) -> int | None:
    donor = table.initializer.donor if table.initializer is not None else None
    return None if donor is None or donor.id is None else _row_of(old_vocabulary, donor.id, table)


def _row_of(vocabulary: Vocabulary, entity_id: int | str, table: EmbeddingBagConfig) -> int:
    """Row of one entity, by its id as the config writes it."""
    wants_text = isinstance(vocabulary.ids, BytesIds)
    if isinstance(entity_id, str) is not wants_text:
        raise IncompatibleError(
            ErrorKind.ID_TYPE_MISMATCH,
            "the donor's id has another type than the old vocabulary's ids",
            where=f"table {table.name}, initializer.donor.id",
            expected=vocabulary.id_type,
            found=repr(entity_id),
            hint="write numbers bare and strings in quotes",
        )
    asked = _single_id(vocabulary, entity_id)
    rows_N = np.zeros(len(asked), np.int64)
    row = int(join(vocabulary.ids, vocabulary.rows_N, asked, rows_N, 1, threads=1).row_V[0])
    if row < 0:
        raise NotFoundError(
            ErrorKind.NO_SUCH_ENTITY,
            "the donor is not in the old vocabulary",
            where=f"table {table.name}, initializer.donor.id",
            expected=f"an id of {vocabulary.uri}",
            found=repr(entity_id),
        )
    return row


def _single_id(vocabulary: Vocabulary, entity_id: int | str) -> Ids:
    if isinstance(vocabulary.ids, BytesIds):
        data = np.frombuffer(str(entity_id).encode(), np.uint8)
        return BytesIds(np.array([0, len(data)], np.int64), data)
    limits = np.iinfo(vocabulary.ids.dtype)
    if not limits.min <= int(entity_id) <= limits.max:
        return vocabulary.ids[:0]
    asked = vocabulary.ids[:1].copy()
    asked[0] = int(entity_id)
    return asked


def _donor_rows(
    old: Vocabulary, new: Vocabulary, row_map: RowMap, num_rows: int, threads: int
) -> NDArray[np.int64] | None:
    if new.donors is None:
        return None
    donor_V = join(old.ids, old.rows_N, new.donors, new.rows_N, num_rows, threads=threads).row_V
    return donor_V[row_map.new_rows_N]


def _check_identical(table: EmbeddingBagConfig, old: OldTable, mapping: TableMapping) -> None:
    old_ref, new_ref = mapping.vocabularies
    assert old_ref is not None
    assert new_ref is not None
    same_rows = old.table.num_embeddings == table.num_embeddings
    if old_ref.fingerprint != new_ref.fingerprint or not same_rows:
        raise IncompatibleError(
            ErrorKind.VOCABULARY_MISMATCH,
            "restore carries every row as it is, and the vocabularies (or row counts) differ",
            where=f"table {table.name}",
            expected=f"{old_ref.fingerprint}, {old.table.num_embeddings} rows ({old_ref.uri})",
            found=f"{new_ref.fingerprint}, {table.num_embeddings} rows ({new_ref.uri})",
            hint="use `embsnap warmstart`, or pretrained.by_position: true",
        )


def _reserve(
    reserved: ReservedRowsConfig, mapping: TableMapping, table: EmbeddingBagConfig, old: OldTable | None
) -> TableMapping:
    rows = range(reserved.start, reserved.end)
    _check_reserved(rows, mapping, table)
    if reserved.policy is not ReservedPolicy.CARRY or old is None or mapping.row_V is None:
        return mapping
    if rows.stop > old.table.num_embeddings:
        raise IncompatibleError(
            ErrorKind.ROW_OUT_OF_RANGE,
            "reserved rows cannot be carried",
            where=f"table {table.name}",
            expected=f"reserved rows below {old.table.num_embeddings}, the old table's rows",
            found=f"{rows.start}:{rows.stop}",
            hint="reserve fewer rows, or set reserved.policy to initialize or zeros",
        )
    mapping.row_V[rows.start : rows.stop] = np.arange(rows.start, rows.stop)
    counts = replace(mapping.counts, reserved=len(rows), unoccupied=mapping.counts.unoccupied - len(rows))
    return replace(mapping, counts=counts)


def _check_reserved(rows: range, mapping: TableMapping, table: EmbeddingBagConfig) -> None:
    held = mapping.row_V[rows.start : rows.stop] >= 0 if mapping.row_V is not None else np.empty(0, np.bool_)
    new_rows_N = mapping.new_rows_N if mapping.new_rows_N is not None else np.empty(0, np.int64)
    first, last = np.searchsorted(new_rows_N, (rows.start, rows.stop))
    if held.any() or last > first or rows.stop > table.num_embeddings:
        taken = [*(np.flatnonzero(held) + rows.start)[:3].tolist(), *new_rows_N[first:last][:3].tolist()]
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            "reserved rows hold entities, or lie beyond the table",
            where=f"table {table.name}, rows {rows.start}:{rows.stop}",
            expected=f"no entity in them, below {table.num_embeddings}",
            found=f"entities in rows {', '.join(map(str, taken))}" if taken else f"{rows.stop}",
            hint="correct `reserved.rows`, or rebuild the vocabulary with these rows left free",
        )

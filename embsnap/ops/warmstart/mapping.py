"""Which old row each row of one new table takes.

Shape suffixes: V rows of the new table, N entities.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from embsnap.config.embedding import EmbeddingBagConfig, ReservedPolicy, ReservedRowsConfig
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.kernels.hashing import id_keys
from embsnap.ops.vocabulary import align
from embsnap.ops.warmstart.donors import donor_row, donor_rows, needs_occupied_rows
from embsnap.ops.warmstart.mapping_together import map_together
from embsnap.ops.warmstart.new_vocabulary import check_new, reserved_range
from embsnap.ops.warmstart.peers import WHOLE, Share, together
from embsnap.ops.warmstart.remapping import map_by_remap
from embsnap.ops.warmstart.result import Alignment, RowCounts
from embsnap.ops.warmstart.sources import OldTable, Sources, check_vocabularies_given
from embsnap.ops.warmstart.table_mapping import TableMapping

__all__ = ["map_table"]


def map_table(
    table: EmbeddingBagConfig,
    old: OldTable | None,
    sources: Sources,
    *,
    identical: bool,
    threads: int,
    row_map: str | None = None,
    share: Share = WHOLE,
) -> TableMapping:
    """Read the vocabularies of one table, join them, and apply the policy for reserved rows.

    Args:
        table: The new table's config.
        old: What it starts from; None for a cold start.
        sources: Reads vocabularies.
        identical: Refuse anything but the same entities in the same rows.
        threads: Of the join.
        row_map: URI of a row map to use instead of joining the vocabularies; only with an old table.
        share: Who maps it together, and what this process wants of it.

    Raises:
        IncompatibleError: The vocabularies do not fit each other or the tables.
        UsageError: Only one side has a vocabulary.
    """
    mapping = None
    if share.peers.size > 1 and _follows_vocabulary(table, old, row_map):
        mapping = map_together(table, old, sources, share, threads)
    if mapping is None:
        mapping = together(share.peers, partial(_map_rows, table, old, sources, threads, row_map))

    def finished() -> TableMapping:
        if identical and old is not None and mapping.alignment is Alignment.VOCABULARY:
            _check_identical(table, old, mapping)
        if table.reserved is None:
            return mapping
        if mapping.alignment is Alignment.POSITION:
            _check_kept(table.reserved, table)
            return mapping
        return _reserve(table.reserved, mapping, table, old)

    return together(share.peers, finished)


def _follows_vocabulary(table: EmbeddingBagConfig, old: OldTable | None, row_map: str | None) -> bool:
    """Whether rows follow the table's vocabulary, or are drawn by it."""
    by_position = table.pretrained is not None and table.pretrained.by_position
    return table.vocab is not None and row_map is None and (old is None or not by_position)


def _map_rows(
    table: EmbeddingBagConfig, old: OldTable | None, sources: Sources, threads: int, row_map: str | None
) -> TableMapping:
    if old is None:
        return _map_cold(table, sources, threads)
    if row_map is not None:
        return map_by_remap(table, old, sources, row_map, threads)
    assert table.pretrained is not None
    if table.pretrained.by_position:
        return _map_by_position(table, old, sources, threads)
    check_vocabularies_given(table, old)
    if table.vocab is None:
        return _map_by_position(table, old, sources, threads)
    return _map_by_vocabulary(table, old, sources, threads)


def _map_cold(table: EmbeddingBagConfig, sources: Sources, threads: int) -> TableMapping:
    if table.vocab is None:
        return TableMapping(Alignment.COLD, RowCounts(0, 0, 0, 0, table.num_embeddings))
    vocabulary, ref = sources.new_vocabulary(table)
    findings = check_new(vocabulary, table, threads)
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
    if table.vocab is None:
        return TableMapping(Alignment.POSITION, counts)
    vocabulary, ref = sources.new_vocabulary(table)
    findings = check_new(vocabulary, table, threads)
    return TableMapping(
        Alignment.POSITION, counts, vocabularies=(None, ref), num_entities=len(vocabulary), findings=findings
    )


def _map_by_vocabulary(table: EmbeddingBagConfig, old: OldTable, sources: Sources, threads: int) -> TableMapping:
    (old_vocabulary, old_ref), (new_vocabulary, new_ref) = sources.both_vocabularies(table, old)
    row_map, findings = align(
        old_vocabulary,
        new_vocabulary,
        num_new_rows=table.num_embeddings,
        num_old_rows=old.table.num_embeddings,
        reserved=reserved_range(table),
        threads=threads,
        join=sources.join,
    )
    counts = RowCounts(row_map.num_carried, row_map.num_new, row_map.num_dropped, 0, row_map.num_unoccupied)
    return TableMapping(
        Alignment.VOCABULARY,
        counts,
        row_map.row_V,
        row_map.new_rows_N,
        row_map.new_keys_N,
        donor_rows(old_vocabulary, new_vocabulary, row_map.new_rows_N, table.num_embeddings, threads),
        old_vocabulary.rows_N if needs_occupied_rows(table) else None,
        donor_row(table, old_vocabulary),
        row_map.coverage,
        row_map.weighted_coverage,
        (old_ref, new_ref),
        len(old_vocabulary) + len(new_vocabulary),
        findings,
    )


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


def _check_kept(reserved: ReservedRowsConfig, table: EmbeddingBagConfig) -> None:
    if reserved.policy is not ReservedPolicy.CARRY:
        raise UsageError(
            ErrorKind.BAD_CONFIG,
            "reserved rows of a table that is carried by position keep what they hold",
            where=f"table {table.name}",
            expected=f"reserved.policy {ReservedPolicy.CARRY.value}, or none",
            found=reserved.policy.value,
            hint="give both sides a vocabulary, or leave reserved out",
        )


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

"""The statistics of one table.

Shape suffixes: V rows of a table, S rows of a sample, N rows in hand, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.kernels.row_hash import count_distinct
from embsnap.kernels.row_sums import combined
from embsnap.model.paths import last_segment
from embsnap.model.progress import Progress
from embsnap.model.table import Table, TableState
from embsnap.model.table_stats import Duplicates, Interval, RowStats, TableStats
from embsnap.ops.stats.deciles import popularity_of
from embsnap.ops.stats.gathered import Gathered
from embsnap.ops.stats.norms import SortedNorms
from embsnap.ops.stats.options import StatsOptions
from embsnap.ops.stats.pieces import rank_norms, shard_norms
from embsnap.ops.stats.popularity import NUM_DECILES, Ranked, rank_rows
from embsnap.ops.stats.sampling import NUM_GROUPS, intervals, sample, sample_groups
from embsnap.ops.stats.scan import Scan, Scanned, ScanPlan
from embsnap.ops.stats.scratch import Scratch
from embsnap.ops.stats.updates import untouched_rows

__all__ = ["TableToScan", "table_stats"]


@dataclass(frozen=True, slots=True, eq=False)
class TableToScan:
    """One table of a snapshot, and what is to be read for it."""

    snapshot: Snapshot
    table: Table
    state: TableState | None
    """That tells never-updated rows; None reads none."""
    num_rows: int
    """That will be looked at: all, or a sample."""
    in_blocks: bool
    """The weight's objects map into memory."""

    @property
    def is_sample(self) -> bool:
        """Whether fewer rows than the table's are looked at."""
        return self.num_rows < self.table.num_embeddings


def table_stats(to_scan: TableToScan, options: StatsOptions, progress: Progress) -> TableStats:
    """Read a table's rows once, and compute what `options` ask for.

    Raises:
        IncompatibleError: Its vocabulary does not fit it, or has no counts.
        SnapshotError: An object is not what the manifest says.
        StorageError: The storage failed, or there is no room for what is kept of each row.
    """
    table, snapshot = to_scan.table, to_scan.snapshot
    key = last_segment(table.weight.path)
    ranked = _ranked(table, options, progress)
    rows_S = sample(table.num_embeddings, to_scan.num_rows, options.seed) if to_scan.is_sample else None
    decile_V = None if ranked is None else ranked.deciles_of_rows(table.num_embeddings)
    if decile_V is not None and rows_S is not None:
        decile_V = decile_V[rows_S]
    scratch = Scratch(options.memory_budget // 2)
    plan = _scan_plan(to_scan, options, rows_S, decile_V)
    scanned = Scan(snapshot.reader(table.weight), plan, scratch)(
        options.threads, task=f"read {table.name}", progress=progress
    )
    sorted_norms = SortedNorms.of(scanned.norms_V, scratch.empty(to_scan.num_rows, np.float64), threads=options.threads)
    exploded_norm = sorted_norms.exploded_norm(options.exploded_factor)
    untouched = _untouched(to_scan, rows_S, options, progress)
    gathered = Gathered(options, scanned, sorted_norms, exploded_norm, untouched)
    dim = table.embedding_dim
    num_untouched = None if untouched is None else int(untouched.sum())
    rows = gathered.stats(combined(scanned.sums_G, dim, gram=options.spectrum), sorted_norms, num_untouched)
    popularity = None
    if ranked is not None and decile_V is not None:
        popularity = popularity_of(ranked, gathered, decile_V, rows_S, table.num_embeddings)
    return TableStats(
        name=table.name,
        key=key,
        path=table.weight.path,
        num_embeddings=table.num_embeddings,
        embedding_dim=dim,
        dtype=table.weight.dtype.name,
        num_bytes=table.weight.num_bytes,
        sharding=table.sharding,
        sample_rows=None if rows_S is None else len(rows_S),
        rows=rows,
        exploded_norm=exploded_norm,
        never_updated_by=None if to_scan.state is None else to_scan.state.name,
        duplicates=_duplicates(scanned, options),
        shards=() if to_scan.is_sample else shard_norms(scanned.piece_norms, scanned.norms_V),
        ranks=() if to_scan.is_sample else rank_norms(table, key, scanned.piece_norms, scanned.norms_V),
        popularity=popularity,
        intervals={} if rows_S is None else _intervals(gathered, rows, table.num_embeddings),
    )


def _ranked(table: Table, options: StatsOptions, progress: Progress) -> Ranked | None:
    uri = options.vocabularies.get(table.name)
    if uri is None:
        return None
    storage, threads = options.storage_options, options.threads
    found = read_vocabulary(uri, columns=options.columns, options=storage, threads=threads, progress=progress)
    return rank_rows(found, table.num_embeddings)


def _scan_plan(
    to_scan: TableToScan, options: StatsOptions, rows_S: NDArray[np.int64] | None, decile_V: NDArray[np.uint8] | None
) -> ScanPlan:
    """Rows are summed by decile, and a sample's by the group that the jackknife leaves out."""
    groups_V, num_groups = decile_V, 1 if decile_V is None else NUM_DECILES + 1
    if rows_S is not None:
        sampled = sample_groups(len(rows_S))
        groups_V = sampled if groups_V is None else groups_V * np.uint8(NUM_GROUPS) + sampled
        num_groups *= NUM_GROUPS
    return ScanPlan(
        gram=options.spectrum,
        hashes=options.duplicates and rows_S is None,
        rows_S=rows_S,
        groups_V=groups_V,
        num_groups=num_groups,
        in_blocks=to_scan.in_blocks,
    )


def _untouched(
    to_scan: TableToScan, rows_S: NDArray[np.int64] | None, options: StatsOptions, progress: Progress
) -> NDArray[np.bool_] | None:
    state = to_scan.state
    if state is None:
        return None
    task = f"read {to_scan.table.name}.{state.name}"
    progress.start(task, state.array.num_bytes)
    try:
        return untouched_rows(
            to_scan.snapshot.reader(state.array),
            state.layout,
            to_scan.table.num_embeddings,
            rows_S,
            threads=options.threads,
            advance=lambda num_bytes: progress.advance(task, num_bytes),
        )
    finally:
        progress.finish(task)


def _duplicates(scanned: Scanned, options: StatsOptions) -> Duplicates | None:
    if scanned.hashes_2V is None:
        return None
    first_V, second_V = scanned.hashes_2V
    memory = max(1 << 24, options.memory_budget // 4)
    found = count_distinct(first_V, second_V, threads=options.threads, memory_bytes=memory)
    return Duplicates(found.num_distinct, len(first_V) - found.num_distinct, found.largest_group)


def _intervals(gathered: Gathered, rows: RowStats, num_rows: int) -> dict[str, Interval]:
    sums_G, dim = gathered.scanned.sums_G, len(rows.dim_means)
    parts = [sums_G[group::NUM_GROUPS] for group in range(NUM_GROUPS)]
    by_group = [combined(part, dim, gram=gathered.options.spectrum) for part in parts]
    return intervals(rows, by_group, gathered.sorted.ordered, num_rows)

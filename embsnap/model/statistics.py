"""The statistics of a table one by one, under the names by which they are stored, plotted and gated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embsnap.model.table_stats import Interval, RowStats, SnapshotStats, TableStats

__all__ = ["Statistic", "row_counts", "statistics_of", "table_statistics"]


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number."""

    table: str
    name: str
    """`norm.p50`."""
    part: str
    """`all`, `decile-1` … `decile-10`, or `rank-0`, …"""
    value: float
    interval: Interval | None = None
    """Of a sample, where there is one."""


def statistics_of(stats: SnapshotStats) -> Iterator[Statistic]:
    """All numbers of all tables; those that are not known are left out."""
    for table in stats.tables:
        yield from table_statistics(table)


def table_statistics(table: TableStats) -> Iterator[Statistic]:
    """All numbers of one table."""
    for name, value in _named(table.rows):
        yield Statistic(table.name, name, "all", value, table.intervals.get(name))
    if table.duplicates is not None:
        yield Statistic(table.name, "rows.duplicates", "all", table.duplicates.num_duplicates)
    for rank in table.ranks:
        if rank.mean_norm is not None:
            yield Statistic(table.name, "norm.mean", f"rank-{rank.rank}", rank.mean_norm)
    if table.popularity is None:
        return
    if table.popularity.norm_correlation is not None:
        name, value = "popularity.norm_correlation", table.popularity.norm_correlation
        yield Statistic(table.name, name, "all", value, table.intervals.get(name))
    for decile in table.popularity.deciles:
        for name, value in _named(decile.rows):
            yield Statistic(table.name, name, f"decile-{decile.number}", value)


def _named(rows: RowStats) -> Iterator[tuple[str, float]]:
    yield "rows.total", rows.num_rows
    for name, count in row_counts(rows):
        yield f"rows.{name}", count
        if rows.num_rows:
            yield f"rows.{name}_share", count / rows.num_rows
    if rows.norms is not None:
        yield "norm.mean", rows.norms.mean
        yield "norm.std", rows.norms.std
        yield from ((f"norm.{name}", value) for name, value in rows.norms.percentiles.items())
        yield "dim.std_min", min(rows.dim_stds)
        yield "dim.std_max", max(rows.dim_stds)
    if rows.mean_cosine is not None:
        yield "cosine.mean", rows.mean_cosine
    if rows.spectrum is not None:
        found = rows.spectrum
        ranks = ("effective_rank", "stable_rank", "information_abundance", "centred_effective_rank", "iso_score")
        for name in ranks:
            value = getattr(found, name)
            if value is not None:
                yield f"spectrum.{name}", value


def row_counts(rows: RowStats) -> Iterator[tuple[str, int]]:
    """Kinds of rows, and how many there are of each."""
    yield "non_finite", rows.num_non_finite
    yield "dead", rows.num_dead
    yield "near_zero", rows.num_near_zero
    yield "exploded", rows.num_exploded
    if rows.num_never_updated is not None:
        yield "never_updated", rows.num_never_updated

"""What statistics show to be wrong with a table."""

from __future__ import annotations

from collections.abc import Iterator

from embsnap.model.findings import Finding, Severity
from embsnap.model.table_stats import TableStats

__all__ = ["table_findings"]

_ALIGNED_COSINE = 0.9
_COLLAPSED_SHARE = 0.05


def table_findings(table: TableStats) -> Iterator[Finding]:
    """The findings of one table; shares are of the rows that were looked at."""
    rows = table.rows
    if rows.num_non_finite:
        yield _finding(
            table, Severity.ERROR, "non-finite-rows", rows.num_non_finite, "a NaN or an infinity",
            "training diverged: go back to an earlier step, and lower the learning rate or clip gradients",
        )  # fmt: skip
    if rows.num_rows and rows.num_dead == rows.num_rows:
        message = "every row is zero"
        remedy = "check that the table was trained, and written after it was filled"
        yield Finding(Severity.WARNING, "all-zero-table", table.name, message, remedy, rows.num_rows)
    if rows.num_exploded:
        assert table.exploded_norm is not None
        yield _finding(
            table, Severity.WARNING, "exploded-rows", rows.num_exploded, f"a norm above {table.exploded_norm:.6g}",
            "look at their entities with `embsnap lookup`; clip norms or the learning rate",
        )  # fmt: skip
    if rows.mean_cosine is not None and rows.mean_cosine > _ALIGNED_COSINE:
        message = f"rows point in one direction: their average cosine is {rows.mean_cosine:.3g}"
        remedy = "take the mean row away, or train with negatives: nearest neighbours mean little as it is"
        yield Finding(Severity.WARNING, "aligned-rows", table.name, message, remedy)
    rank = None if rows.spectrum is None else rows.spectrum.effective_rank
    if rank is not None and table.embedding_dim >= 8 and rank < _COLLAPSED_SHARE * table.embedding_dim + 1:
        message = f"an effective rank of {rank:.3g} in {table.embedding_dim} dimensions: most of them are unused"
        remedy = "use fewer dimensions, or find out why they collapsed"
        yield Finding(Severity.WARNING, "collapsed-table", table.name, message, remedy)


def _finding(table: TableStats, severity: Severity, kind: str, count: int, what: str, remedy: str) -> Finding:
    verb = "row has" if count == 1 else "rows have"
    return Finding(severity, kind, table.name, f"{count:,} {verb} {what}", remedy, count)

"""What each rank has seen of the tables of a plan, put together into one report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embsnap.ops.warmstart.plan import WarmstartPlan
from embsnap.ops.warmstart.result import WarmstartResult

__all__ = ["RankReport", "merged_result", "report_of"]


@dataclass(frozen=True, slots=True)
class RankReport:
    """What one rank has read."""

    norms: dict[str, dict[int, float]]
    """Table → first row of each block → the sum of the norms in it."""
    num_unchecked_rows: dict[str, int]
    """Of tables with an old one."""
    peak_memory_bytes: int
    """As planned."""


def report_of(plan: WarmstartPlan) -> RankReport:
    """This rank's, once the plan was applied here."""
    return RankReport(
        norms={table.name: table.tap.norms for table in plan.tables},
        num_unchecked_rows={t.name: t.old.weight.num_unchecked_rows for t in plan.tables if t.old is not None},
        peak_memory_bytes=plan.peak_memory_bytes,
    )


def merged_result(plan: WarmstartPlan, ranks: Sequence[RankReport], seconds: float) -> WarmstartResult:
    """The report over all ranks, after `seconds` of reading and writing."""
    for table in plan.tables:
        for rank in ranks:
            table.tap.merge_norms(rank.norms[table.name])
    result = plan.result(applied=True, seconds=seconds)
    reports = []
    for report in result.tables:
        counts = [rank.num_unchecked_rows[report.name] for rank in ranks if report.name in rank.num_unchecked_rows]
        reports.append(replace(report, num_unchecked_rows=sum(counts) if counts else None))
    peak = max(rank.peak_memory_bytes for rank in ranks)
    return replace(result, tables=tuple(reports), peak_memory_bytes=peak)

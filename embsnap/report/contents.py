"""What a report holds: results of other operations, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding
from embsnap.model.inspection import RunInspection, SnapshotInspection
from embsnap.model.run_history import RunHistory
from embsnap.model.snapshot_diff import SnapshotDiff
from embsnap.model.stats_plan import StatsPlan
from embsnap.model.table_stats import SnapshotStats
from embsnap.model.vocab_coverage import VocabCoverage
from embsnap.ops.warmstart.result import WarmstartResult

__all__ = ["Report", "ReportOutline"]


@dataclass(frozen=True, slots=True)
class Report:
    """The results that one page shows; None for those that there are not."""

    schema: ClassVar[str] = "embsnap.report"
    schema_version: ClassVar[int] = 1

    source: str
    """What was asked for: a snapshot, a run, or a result."""
    tool: str
    created: str
    """UTC, ISO 8601."""
    run: RunInspection | None
    """The run that the snapshot is the newest committed step of."""
    inspection: SnapshotInspection | None
    stats: SnapshotStats | None
    before: SnapshotStats | None
    """Of the snapshot before, of the tables that both have."""
    diff: SnapshotDiff | None
    """From the snapshot before to this one."""
    history: RunHistory | None
    coverage: tuple[VocabCoverage, ...]
    warmstart: WarmstartResult | None
    findings: tuple[Finding, ...]
    """Of all of these, each once."""
    destination: str | None
    """Where the page was written."""


@dataclass(frozen=True, slots=True)
class ReportOutline:
    """What making a report would read and write."""

    schema: ClassVar[str] = "embsnap.report-plan"
    schema_version: ClassVar[int] = 1

    source: str
    snapshot: str | None
    """URI of the snapshot that the page is about."""
    before: str | None
    """URI of the snapshot that it is compared with."""
    stats: tuple[StatsPlan, ...]
    """What computing statistics takes: of this snapshot and the one before, or of a run's steps."""
    results: tuple[str, ...]
    """Kinds of the results that were read."""
    num_bytes_to_read: int
    """Rows, those of both snapshots once more for comparing them."""
    destination: str | None

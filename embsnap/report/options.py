"""What goes into a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.stats.options import StatsOptions

__all__ = ["ReportOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """Of `report`."""

    stats: StatsOptions = field(default_factory=StatsOptions)
    """Of the statistics, of this snapshot and the one before it. Its vocabularies are the tables' own: those that have
    counts rank rows by popularity, and all of them match the rows of the snapshot before."""
    diff: DiffOptions = field(default_factory=DiffOptions)
    """Of the comparison with the snapshot before. Its tables and B's vocabularies are those of `stats`."""
    before: str | None = None
    """URI of the snapshot to compare with; of a run the last committed step but one, if None."""
    compare: bool = True
    """False compares with none, not even a run's last step but one."""
    history: str | None = None
    """URI of the parquet history that keeps a run's statistics."""
    results: Sequence[str] = ()
    """URIs of results that commands printed with `--json`, to be shown too."""

    @property
    def storage_options(self) -> Mapping[str, str]:
        """Of all stores."""
        return self.stats.storage_options

"""What `history` reports: the statistics of a run's steps as series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["HistoryStep", "RunHistory", "Series"]


@dataclass(frozen=True, slots=True)
class HistoryStep:
    """One committed step of a run."""

    step: int
    uri: str
    metadata_sha256: str
    is_new: bool
    """It was read now; otherwise its statistics come from the history."""


@dataclass(frozen=True, slots=True)
class Series:
    """One statistic of one table over the steps."""

    table: str
    statistic: str
    """`norm.p50`; `docs/statistics.md` lists them."""
    part: str
    """`all`, `decile-1` … `decile-10`, `rank-0`, …"""
    values: tuple[float | None, ...]
    """One for each step; None where a step has none."""


@dataclass(frozen=True, slots=True)
class RunHistory:
    """Statistics of every committed step of a run."""

    schema: ClassVar[str] = "embsnap.history"
    schema_version: ClassVar[int] = 1

    uri: str
    steps: tuple[HistoryStep, ...]
    """Ascending."""
    series: tuple[Series, ...]
    num_bytes_read: int
    seconds: float
    history: str | None
    """Where the statistics are kept."""
    findings: tuple[Finding, ...]

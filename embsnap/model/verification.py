"""What `verify` reports: one grade after the other, each with what was looked at and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["Level", "LevelReport", "Outcome", "Verification"]


class Level(StrEnum):
    """How far a snapshot is checked; each level includes those before it."""

    COMMITTED = "committed"
    """The metadata is there and can be read, and a sidecar, where there is one, belongs to it."""
    STRUCTURE = "structure"
    """Every rank lists something, containers list exactly their children, every entry is of a known type."""
    GEOMETRY = "geometry"
    """The pieces of every array cover it exactly: no gap, no overlap."""
    BYTES = "bytes"
    """Every object is there and as long as it must be; byte ranges are disjoint or the same."""
    CHECKSUMS = "checksums"
    """Every object has the sum that the sidecar, or the storage, recorded."""
    VALUES = "values"
    """No value is infinite or not a number, no table is all zero."""
    VOCAB = "vocab"
    """The ids and rows of each vocabulary are unique and in range, its fingerprint is the recorded one."""


class Outcome(StrEnum):
    """Of one level."""

    PASSED = "passed"
    FAILED = "failed"
    """It has errors or warnings, or was demanded and could not be checked."""
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class LevelReport:
    """One level of one verification."""

    level: Level
    outcome: Outcome
    num_checked: int
    """How many of `unit` were looked at; never 0 for a level that passed."""
    unit: str
    """`entries`, `arrays`, `objects`, `values`, `entities`, …"""
    reason: str | None
    """Why it was skipped, wholly or for a part of what it is about; None where nothing was."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """How far a snapshot can be trusted."""

    schema: ClassVar[str] = "embsnap.verify"
    schema_version: ClassVar[int] = 1

    uri: str
    metadata_sha256: str
    levels: tuple[LevelReport, ...]
    """In the order of `Level`, up to the one that was demanded, else all."""
    demanded: Level | None
    """The level that must not be skipped, if any."""
    num_bytes_read: int
    """Of objects."""
    seconds: float
    sidecar: str | None
    """URI of the sidecar that was added; None where none was."""
    ok: bool
    """No level failed."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of all levels."""
        return tuple(finding for report in self.levels for finding in report.findings)

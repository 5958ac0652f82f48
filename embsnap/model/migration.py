"""What a migration reports, planned or done; and how a snapshot came to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from embsnap.model.findings import Finding

__all__ = ["Ancestor", "CastReport", "LineageResult", "MigratedTable", "MigrationResult", "PlanDocument", "UndoneStep"]


@dataclass(frozen=True, slots=True)
class CastReport:
    """What a cast did to the values of a table; of rows written by this run."""

    to: str
    num_values: int
    num_overflows: int
    """Values that did not fit and were cut to the largest that does."""
    largest_error: float
    """Largest absolute difference."""
    rms_error: float


@dataclass(frozen=True, slots=True)
class MigratedTable:
    """One table of the result."""

    name: str
    path: str
    """Logical path of its weight."""
    num_embeddings: int
    embedding_dim: int
    dtype: str
    copied: bool
    """True if its entries are copied byte for byte."""
    counts: Mapping[str, int]
    """Rows and entities, by what became of them."""
    optimizer_state: tuple[str, ...]
    """Paths of the optimizer state written."""
    vocabulary: str | None
    """URI, where there is one."""
    num_bytes: int
    """Of the table and its optimizer state."""
    casts: tuple[CastReport, ...]
    repaired_rows: int | None
    """Rows that were replaced; None where none were looked at, and before it was applied."""
    figures: Mapping[str, float]
    """What steps measured, such as `explained_variance`."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class UndoneStep:
    """What would take a step back."""

    step: str
    undo: tuple[Mapping[str, Any], ...]
    """Steps, as plain values."""
    reason: str | None
    """Why there is no step that takes it back."""


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """A planned or finished migration."""

    schema: ClassVar[str] = "embsnap.migration"
    schema_version: ClassVar[int] = 1

    source: str
    destination: str | None
    applied: bool
    """False for a dry run."""
    tables: tuple[MigratedTable, ...]
    dropped: tuple[str, ...]
    """Tables of the source that the result does not have."""
    world_size: int
    num_kept_entries: int
    """Entries copied byte for byte, those of unchanged tables among them."""
    plan_digest: str
    num_bytes_to_read: int
    """Of rows and of kept entries, each needed byte once, and of rows that were read to plan."""
    num_bytes_to_write: int
    num_bytes_resumed: int
    """Of objects that an earlier run had finished."""
    peak_memory_bytes: int
    """Vocabularies and row maps, and row data in flight."""
    estimated_s: float
    """How long it should take; from reading a few blocks of each table, and 1 GB/s for writing."""
    planning_seconds: float
    seconds: float
    undo: tuple[UndoneStep, ...]
    findings: tuple[Finding, ...] = ()
    num_unchecked_rows: int | None = None
    """Rows read without any checksum being compared, once for each time they were read; None before it was applied."""


@dataclass(frozen=True, slots=True)
class PlanDocument:
    """A plan: the one that made a snapshot, or the one that takes it back."""

    schema: ClassVar[str] = "embsnap.migration-plan"
    schema_version: ClassVar[int] = 1

    uri: str
    sources: tuple[str, ...]
    """Snapshots that it was applied to."""
    steps: tuple[Mapping[str, Any], ...]
    remarks: tuple[str, ...]
    """What the steps do not say: which have no inverse, which come from a script."""


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One snapshot of a chain."""

    uri: str
    metadata_sha256: str
    command: str | None
    """What made it; None where nothing says so."""
    steps: tuple[str, ...]
    """Kinds of the steps that made it, in order."""
    parents: tuple[str, ...]
    """URIs of what it was made from."""
    generation: int
    """0 for the snapshot itself."""


@dataclass(frozen=True, slots=True)
class LineageResult:
    """A snapshot and what it was made from, nearest first."""

    schema: ClassVar[str] = "embsnap.lineage"
    schema_version: ClassVar[int] = 1

    uri: str
    chain: tuple[Ancestor, ...]

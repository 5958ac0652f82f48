"""What a warm start reports, planned or done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["Alignment", "Lookup", "RowCounts", "TableReport", "WarmstartResult"]


class Alignment(StrEnum):
    """How the rows of a new table find their old ones."""

    VOCABULARY = "vocabulary"
    """By entity id."""
    POSITION = "position"
    """Row by row: asked for, or neither side has a vocabulary."""
    REMAP = "remap"
    """By a row map that was given."""
    COLD = "cold"
    """There is no old table: every row is drawn."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Where the rows of one table come from."""

    carried: int
    """Entities in both vocabularies (rows, where carried by position)."""
    new: int
    """Entities only in the new vocabulary: drawn by the initializer."""
    dropped: int
    """Entities only in the old vocabulary (by a row map without one: rows of the old table that no new row takes)."""
    reserved: int
    """Reserved rows that were carried by position."""
    unoccupied: int
    """Rows without an entity, drawn too, outside of coverage."""
    duplicate: int = 0
    """Entities listed twice. They are refused before anything is written."""


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table of a warm start."""

    name: str
    num_embeddings: int
    embedding_dim: int
    dtype: str
    source_uri: str | None
    source_table: str | None
    alignment: Alignment
    counts: RowCounts
    coverage: float | None
    """carried / (carried + new); None without a vocabulary."""
    weighted_coverage: float | None
    """The same weighted by the new vocabulary's counts; None without counts."""
    initializer: str
    optimizer_state: tuple[str, ...]
    """Paths of the optimizer state written."""
    num_bytes: int
    """Of the table and its optimizer state in the new snapshot."""
    seconds: float | None
    """From its first row read to its last; None before it was applied."""
    mean_norm: float | None
    """Mean L2 norm of its rows, for `tables_to_log`; None for others and before it was applied."""
    findings: tuple[Finding, ...]
    row_map: str | None = None
    """URI of the row map that was given."""
    num_unchecked_rows: int | None = None
    """Old rows that were read without any checksum being compared; None before it was applied."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A pooled lookup through the live EmbeddingBagCollection, compared with the source rows."""

    table: str
    num_bags: int
    num_ids: int
    max_abs_error: float
    """Largest difference from the pooled source rows."""
    pooled: tuple[float, ...]
    """First values of the first bag."""


@dataclass(frozen=True, slots=True)
class WarmstartResult:
    """A planned or finished warm start."""

    schema: ClassVar[str] = "embsnap.warmstart"
    schema_version: ClassVar[int] = 1

    command: str
    destination: str | None
    applied: bool
    """False for a dry run."""
    tables: tuple[TableReport, ...]
    plan_digest: str
    num_bytes_to_read: int
    num_bytes_to_write: int
    peak_memory_bytes: int
    """Row maps, and the larger of vocabularies being joined and row data in flight."""
    planning_seconds: float
    """Vocabularies and row maps."""
    seconds: float
    notes: tuple[Finding, ...] = ()
    """What was found at the destination."""
    device: str | None = None
    """Where the live model is; None without one."""
    mode: str | None = None
    lookups: tuple[Lookup, ...] = ()

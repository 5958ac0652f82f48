"""What `stats` and `history` would read and write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.table_stats import SkippedTable

__all__ = ["StatsPlan", "TablePlan"]


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What computing one table's statistics takes."""

    name: str
    step: int | None
    num_rows: int
    """That will be looked at."""
    embedding_dim: int
    dtype: str
    num_bytes_to_read: int
    """Of the weight, and of the optimizer state that tells never-updated rows."""
    scratch_bytes: int
    """Norms and hashes of all rows; in memory, or in a temporary file where they would take more than the budget."""


@dataclass(frozen=True, slots=True)
class StatsPlan:
    """What `stats` or `history` would read and write."""

    schema: ClassVar[str] = "embsnap.stats-plan"
    schema_version: ClassVar[int] = 1

    uri: str
    tables: tuple[TablePlan, ...]
    skipped: tuple[SkippedTable, ...]
    known_steps: tuple[int, ...]
    """Steps whose statistics the history has."""
    outputs: tuple[str, ...]
    num_bytes_to_read: int
    scratch_bytes: int
    """Of the table that takes most."""

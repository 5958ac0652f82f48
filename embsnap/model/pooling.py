"""What a run of pooled lookups reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["AccessSkew", "PoolReport", "PooledChange", "PooledStratum", "PooledTable"]


@dataclass(frozen=True, slots=True)
class AccessSkew:
    """How unevenly a table's rows are looked up. Rows are ordered by how often they are."""

    num_rows_touched: int
    max_lookups: int
    """Of one row."""
    top_1_percent: float
    """Share of all lookups that go to the first 1 % of the table's rows (at least one row)."""
    top_10_percent: float
    """The same of 10 %."""


@dataclass(frozen=True, slots=True)
class PooledChange:
    """Pooled vectors of the same examples from another model; distances go from the one to the other."""

    num_bags: int
    num_carried: int
    """Bags, empty ones aside, all of whose entities both vocabularies know."""
    num_identical: int
    """Of these, those whose vectors are the same bit for bit."""
    num_non_finite: int
    """Of these, those of which either vector has a NaN or an infinity."""
    median_cosine: float | None
    """Over the carried bags; None where there is none with two finite vectors that are not zero."""
    p5_cosine: float | None
    median_relative_l2: float | None
    """‖b − a‖ / ‖a‖, over the same bags."""
    p95_relative_l2: float | None
    max_relative_l2: float | None


@dataclass(frozen=True, slots=True)
class PooledTable:
    """One table's lookups."""

    name: str
    column: str
    """Of the examples."""
    num_embeddings: int
    embedding_dim: int
    dtype: str
    pooling: str
    num_bags: int
    num_ids: int
    num_unknown: int
    """Ids that the vocabulary does not have."""
    oov_rate: float | None
    """num_unknown / num_ids; None without ids."""
    num_empty_bags: int
    """Without an id, or without a known one where unknown ids are left out."""
    pooling_factor: float
    """Rows looked up per bag."""
    max_bag: int
    """Most rows in one bag."""
    mean_norm: float
    """Of the pooled vectors."""
    access: AccessSkew
    change: PooledChange | None


@dataclass(frozen=True, slots=True)
class PooledStratum:
    """One table's pooled vectors over the examples of one stratum."""

    stratum: str
    table: str
    num_examples: int
    mean_norm: float | None
    """None without examples."""
    mean: tuple[float, ...] | None
    """Mean vector, of the table's dimension."""


@dataclass(frozen=True, slots=True)
class PoolReport:
    """A planned or finished run of pooled lookups."""

    schema: ClassVar[str] = "embsnap.pool"
    schema_version: ClassVar[int] = 1

    source: str
    examples: str
    compared_with: str | None
    destination: str | None
    """The file that was written; the one that would be, for a dry run."""
    applied: bool
    """False for a dry run."""
    device: str
    num_files: int
    num_examples: int
    batch_size: int
    tables: tuple[PooledTable, ...]
    strata: tuple[PooledStratum, ...]
    table_bytes: int
    """Of the tables' rows."""
    lookup_seconds: float
    """Rows looked up and pooled: bags go in and vectors come out on the device."""
    seconds: float
    """Everything, once the model is filled: reading, ids to rows, lookups, writing."""
    bags_per_s: float | None
    """Per second of `lookup_seconds`; None before it was applied."""
    ids_per_s: float | None
    row_bytes_per_s: float | None
    """Bytes of the rows that are looked up."""

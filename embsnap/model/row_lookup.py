"""What `lookup` shows: rows of a table by entity, in one snapshot or in two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["FoundEntity", "FoundRow", "LookedUpTable", "Neighbor", "RowLookup", "RowState", "RowStep"]


@dataclass(frozen=True, slots=True)
class RowState:
    """What one optimizer state holds for a row."""

    name: str
    values: tuple[float, ...]
    """Of each element, or one of the row; one of each column shard for row-wise state of a column-wise table."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One of the rows nearest by cosine."""

    id: int | str | None
    """Its entity; None if it has none, or none is known."""
    row: int
    cosine: float


@dataclass(frozen=True, slots=True)
class FoundRow:
    """An entity's row in one snapshot."""

    row: int
    count: int | None
    """How often its vocabulary says that it was seen."""
    values: tuple[float, ...]
    norm: float
    state: tuple[RowState, ...]
    neighbors: tuple[Neighbor, ...] | None
    """The nearest first, without the row itself; None if they were not asked for."""


@dataclass(frozen=True, slots=True)
class RowStep:
    """From the row in the first snapshot to the one in the second."""

    distance: float | None
    """‖b − a‖; None if either has a NaN or an infinity."""
    cosine: float | None
    """None if either is zero, too."""
    relative_l2: float | None
    """‖b − a‖ / ‖a‖."""
    neighbors_kept: int | None
    """How many of the neighbours, by id, are the same; None if they were not asked for, or have no ids."""


@dataclass(frozen=True, slots=True)
class FoundEntity:
    """One entity (or row) that was asked for."""

    id: int | str | None
    """None for a row without a known entity."""
    found: FoundRow | None
    """None if the first snapshot does not have it."""
    against: FoundRow | None
    """In the second snapshot; None if that does not have it, or there is none."""
    step: RowStep | None
    """Where both have it, in as many columns."""


@dataclass(frozen=True, slots=True)
class LookedUpTable:
    """A table that was looked into."""

    uri: str
    """Of the snapshot."""
    table: str
    num_embeddings: int
    embedding_dim: int
    dtype: str
    vocab: str | None
    """URI of its vocabulary; None if rows alone were asked for and there is none."""
    num_unchecked_rows: int | None = None
    """Rows read without any checksum being compared; single rows mostly are, because whole blocks have sums."""


@dataclass(frozen=True, slots=True)
class RowLookup:
    """The rows of some entities."""

    schema: ClassVar[str] = "embsnap.lookup"
    schema_version: ClassVar[int] = 1

    table: LookedUpTable
    against: LookedUpTable | None
    entities: tuple[FoundEntity, ...]
    missing: tuple[str, ...]
    """Ids that no snapshot's vocabulary has, as typed."""
    findings: tuple[Finding, ...]

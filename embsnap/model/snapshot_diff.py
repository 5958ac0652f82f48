"""What `diff` reports: how two snapshots differ, in structure and, entity by entity, in their rows.

A is the snapshot named first, B the second. A shared entity is one that both vocabularies know; where rows are matched
by position, a row that both tables have.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from embsnap.model.distribution import Distribution
from embsnap.model.findings import Finding
from embsnap.model.vocab_inspection import Entity

__all__ = [
    "ArrayBits",
    "Beyond",
    "Change",
    "DiffedSnapshot",
    "DiffedTable",
    "Drift",
    "Gate",
    "MatchedBy",
    "Matching",
    "MovedRow",
    "NeighborOverlap",
    "Procrustes",
    "SnapshotDiff",
    "TableDiff",
]


class MatchedBy(StrEnum):
    """What makes a row of A and a row of B the same."""

    ENTITY = "entity"
    """Their entity, by the two vocabularies."""
    POSITION = "position"
    """Their row index."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that stands otherwise in B than in A; None for what one side does not have."""

    place: str
    """Table, entry path, or `snapshot`."""
    what: str
    """`dtype`, `embedding_dim`, `sharding`, `value`, …"""
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True)
class DiffedSnapshot:
    """One side."""

    uri: str
    metadata_sha256: str
    world_size: int
    num_tables: int
    num_unchecked_rows: int | None = None
    """Rows read without any checksum being compared, once for each time they were read."""


@dataclass(frozen=True, slots=True)
class DiffedTable:
    """One side of a table."""

    name: str
    num_embeddings: int
    embedding_dim: int
    dtype: str
    vocab: str | None
    """URI of the vocabulary that its rows were matched by; None by position."""
    fingerprint: str | None
    """Of that vocabulary."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Which rows of A and B belong together."""

    by: MatchedBy
    num_shared: int
    """Entities (or rows) on both sides."""
    num_born: int
    """Only in B."""
    num_gone: int
    """Only in A."""
    num_moved: int
    """Shared entities with another row index; 0 by position."""
    born: tuple[Entity, ...]
    """Some of them: those with the largest counts, or the first ones where there are none. Empty by position."""
    gone: tuple[Entity, ...]


@dataclass(frozen=True, slots=True)
class Beyond:
    """How many shared rows lie beyond a threshold."""

    threshold: str
    """`cosine<0.9`, `relative_l2>0.5`."""
    num: int
    share: float | None
    """Of the rows that have such a value; None if none has."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the rows of shared entities are from where they were."""

    num_identical: int
    """Rows with the same values, element by element, non-finite ones among them."""
    num_non_finite: int
    """Rows with a NaN or an infinity on either side; they are in no distribution."""
    num_zero: int
    """Finite rows that are all zero on one side or both, so that they have no cosine."""
    cosine: Distribution | None
    """a·b / (‖a‖ ‖b‖); None where no row has one."""
    relative_l2: Distribution | None
    """‖b − a‖ / ‖a‖, 0 where both are zero; rows that were zero and are not any more have none."""
    distance: Distribution | None
    """‖b − a‖."""
    beyond: tuple[Beyond, ...]


@dataclass(frozen=True, slots=True)
class MovedRow:
    """A shared entity among those that went furthest."""

    id: int | str | None
    """None where rows are matched by position."""
    row_a: int
    row_b: int
    count: int | None
    """How often B's vocabulary says that it was seen."""
    norm_a: float
    norm_b: float
    distance: float
    cosine: float | None
    relative_l2: float | None


@dataclass(frozen=True, slots=True)
class Procrustes:
    """What is left of the drift once A's rows are turned by the one rotation or reflection that brings them closest.

    R minimises ‖A R − B‖ over orthogonal matrices (Schönemann, "A generalized solution of the orthogonal Procrustes
    problem", 1966): R = U Vᵀ with U Σ Vᵀ the singular value decomposition of Aᵀ B.
    """

    num_rows: int
    """Rows that R was fitted to: all shared ones that are finite on both sides."""
    residual_before: float | None
    """‖A − B‖ / ‖B‖ over these rows; None where B is all zero."""
    residual: float | None
    """‖A R − B‖ / ‖B‖."""
    drift: Drift
    """Of A R against B; `num_identical` counts exact equality after the rotation."""


@dataclass(frozen=True, slots=True)
class NeighborOverlap:
    """How many of its k nearest neighbours by cosine an entity keeps, on a sample of the shared entities.

    Neighbours are looked for, exactly, among all shared entities, on each side for itself.
    """

    k: int
    """As asked; where there are fewer other entities, all of them are neighbours."""
    num_sampled: int
    """Entities that were asked about, and have neighbours on both sides."""
    num_candidates: int
    """Shared entities."""
    mean: float | None
    """Mean share of neighbours kept; None if nothing could be asked about."""
    half_width: float | None
    """Half of the 95 % confidence interval of the mean, by the normal approximation; None for fewer than two."""
    histogram: tuple[int, ...]
    """How many entities keep 0, 1, …, k of their neighbours."""


@dataclass(frozen=True, slots=True)
class ArrayBits:
    """One array of the tables compared byte by byte, each row with the row it belongs to."""

    what: str
    """`weight`, or the name of an optimizer state."""
    num_rows: int
    """Compared."""
    num_differing: int
    """Rows with another bit anywhere."""
    examples: tuple[str, ...]
    """A few of them: entity ids, or rows."""


@dataclass(frozen=True, slots=True)
class TableDiff:
    """A table of A and a table of B."""

    name: str
    """A's, and B's after an arrow where it is another one."""
    a: DiffedTable
    b: DiffedTable
    changes: tuple[Change, ...]
    """In shape, dtype, sharding and optimizer state."""
    matching: Matching
    drift: Drift | None
    """None if the rows cannot be compared."""
    not_compared: str | None
    """Why there is no drift."""
    movers: tuple[MovedRow, ...]
    procrustes: Procrustes | None
    """None unless asked for, and where float64 does not hold the squares of the rows."""
    neighbors: NeighborOverlap | None
    bits: tuple[ArrayBits, ...] | None
    """None unless asked for."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition of `--fail-if`, held against one table."""

    condition: str
    """As typed."""
    table: str | None
    """None if there was no table to hold it against."""
    value: float | None
    """What the table has; None if it has no such value."""
    met: bool
    """Whether the condition holds, so that the gate fails; also where there was no value to hold it against."""


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """How two snapshots differ."""

    schema: ClassVar[str] = "embsnap.diff"
    schema_version: ClassVar[int] = 1

    a: DiffedSnapshot
    b: DiffedSnapshot
    only_a: tuple[str, ...]
    """Tables without a counterpart."""
    only_b: tuple[str, ...]
    changes: tuple[Change, ...]
    """Outside of tables: world size, values, arrays and opaque entries that one side lacks or has otherwise."""
    tables: tuple[TableDiff, ...]
    gates: tuple[Gate, ...]
    same: bool
    """The same tables, entities and values; row indices, sharding and the places of bytes may differ. Where bits were
    compared: the same bits of every row, state and other entry."""
    findings: tuple[Finding, ...]
    seconds: float

"""What `vocab diff` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding
from embsnap.model.vocab_inspection import Entity
from embsnap.model.vocabulary import IdType

__all__ = ["CountChange", "DiffedVocab", "MovedEntity", "VocabDiff"]


@dataclass(frozen=True, slots=True)
class DiffedVocab:
    """One side of the comparison."""

    uri: str
    num_entities: int
    """Distinct ids."""
    fingerprint: str
    num_only: int
    """Entities that only this side has."""
    only: tuple[Entity, ...]
    """Some of them: those with the largest counts, or the first ones where there are none."""
    total_count: int | None
    """Sum of the counts, of an id that stands twice the first; None without counts."""
    shared_weight: float | None
    """Share of the counts that the shared entities have; None without counts."""


@dataclass(frozen=True, slots=True)
class MovedEntity:
    """An entity with another row on each side."""

    id: int | str
    row_a: int
    row_b: int


@dataclass(frozen=True, slots=True)
class CountChange:
    """An entity with another count on each side."""

    id: int | str
    count_a: int
    count_b: int


@dataclass(frozen=True, slots=True)
class VocabDiff:
    """How two vocabularies differ."""

    schema: ClassVar[str] = "embsnap.vocab.diff"
    schema_version: ClassVar[int] = 1

    a: DiffedVocab
    b: DiffedVocab
    id_type: IdType
    num_shared: int
    """Entities on both sides."""
    overlap: float | None
    """Shared entities / entities on either side; None if there are none."""
    weighted_overlap: float | None
    """Sum of the smaller counts / sum of the larger ones, over entities on either side; None without counts on both."""
    num_moved: int
    """Shared entities with another row."""
    moved: tuple[MovedEntity, ...]
    """The first of them, in B's order."""
    num_counts_changed: int | None
    """Shared entities with another count; None without counts on both sides."""
    top_movers: tuple[CountChange, ...]
    """Shared entities whose counts changed most, the largest change first."""
    same_rows: bool
    """The same entities in the same rows."""
    same: bool
    """The same entities in the same rows, with the same counts where both sides have them."""
    findings: tuple[Finding, ...] = ()

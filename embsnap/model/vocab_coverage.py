"""What `vocab coverage` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding
from embsnap.model.vocabulary import IdType

__all__ = ["Covered", "Decile", "MissingId", "VocabCoverage"]


@dataclass(frozen=True, slots=True)
class Covered:
    """How much of some events a vocabulary knows. Each id that is not null is one event, in lists too."""

    name: str
    """Column, or stratum."""
    num_events: int
    num_hits: int
    """Events whose id the vocabulary has."""
    coverage: float | None
    """Hits / events; None without events."""
    oov_rate: float | None
    """1 - coverage."""
    num_ids: int
    """Distinct ids."""
    num_known_ids: int
    """Those that the vocabulary has."""
    num_nulls: int
    """Null ids; they are no events."""


@dataclass(frozen=True, slots=True)
class Decile:
    """A tenth of the vocabulary's entities, by the counts that it records."""

    number: int
    """1 has the largest counts."""
    num_entities: int
    max_count: int
    min_count: int
    num_seen: int
    """Its entities that the events have."""
    num_hits: int
    """Events of its entities."""
    share: float | None
    """Its hits / all events, unknown ids included; None without events."""


@dataclass(frozen=True, slots=True)
class MissingId:
    """An id that the vocabulary has not."""

    id: int | str
    num_events: int


@dataclass(frozen=True, slots=True)
class VocabCoverage:
    """How much of what happens a vocabulary knows."""

    schema: ClassVar[str] = "embsnap.vocab.coverage"
    schema_version: ClassVar[int] = 1

    uri: str
    events: tuple[str, ...]
    """URIs."""
    num_entities: int
    id_type: IdType
    total: Covered
    """All columns together."""
    columns: tuple[Covered, ...]
    """Each by itself."""
    strata: tuple[Covered, ...]
    """Each over all columns."""
    deciles: tuple[Decile, ...]
    """Over all columns, the most frequent first; none where the vocabulary has no counts."""
    missing: tuple[MissingId, ...]
    """The missing ids with the most events."""
    min_coverage: float | None
    ok: bool
    """There are events, and the total coverage is not below `min_coverage`."""
    findings: tuple[Finding, ...] = ()

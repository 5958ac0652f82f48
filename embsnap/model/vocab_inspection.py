"""What `vocab inspect` and `vocab lookup` show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding
from embsnap.model.vocabulary import IdType

__all__ = ["CountDistribution", "Entity", "VocabColumn", "VocabFile", "VocabInspection", "VocabLookup"]


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of a vocabulary."""

    id: int | str
    """A number, text, or `0x` and hexadecimal digits for binary."""
    row: int
    count: int | None = None
    """How often it was seen, where the vocabulary says."""


@dataclass(frozen=True, slots=True)
class VocabFile:
    """One parquet file of a vocabulary."""

    uri: str
    num_entities: int
    num_bytes: int
    num_row_groups: int


@dataclass(frozen=True, slots=True)
class VocabColumn:
    """One flat column, over all files."""

    name: str
    role: str | None
    """`id`, `row` or `count`; None for a column that is not read."""
    type: str
    """In Arrow's words, as in the first file that has it."""
    num_bytes: int
    """As stored, compressed."""
    encodings: tuple[str, ...]
    compressions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CountDistribution:
    """How often the entities of a vocabulary were seen."""

    total: int
    mean: float
    quantiles: dict[str, int]
    """By name, `min` to `max`: `p50` is the least count that half of the entities do not exceed."""
    top: tuple[Entity, ...]
    """The entities with the largest counts, the largest first, ties by row."""
    top_decile_share: float | None
    """Share of the total that the tenth of the entities with the largest counts has; None if all counts are 0."""


@dataclass(frozen=True, slots=True)
class VocabInspection:
    """What is in one vocabulary."""

    schema: ClassVar[str] = "embsnap.vocab.inspect"
    schema_version: ClassVar[int] = 1

    uri: str
    num_entities: int
    id_type: IdType
    fingerprint: str
    """Of the (id, row) pairs as read."""
    first_row: int
    last_row: int
    density: float
    """Share of the rows `[0, last_row]` that have an entity."""
    num_rows: int | None
    """Rows of the table it was made for, where its metadata say."""
    reserved: tuple[tuple[int, int], ...]
    """Half-open ranges of rows that its metadata declare reserved."""
    free: tuple[tuple[int, int], ...]
    """Half-open ranges of rows that its metadata declare free."""
    oov: tuple[int, int] | None
    """The rows `[start, end)` for unknown ids, where its metadata say."""
    made_by: str | None
    """Tool and command that wrote it, where its metadata say."""
    files: tuple[VocabFile, ...]
    columns: tuple[VocabColumn, ...]
    sample: tuple[Entity, ...]
    """The first entities, in file order."""
    counts: CountDistribution | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class VocabLookup:
    """Rows of entity ids, and ids of rows."""

    schema: ClassVar[str] = "embsnap.vocab.lookup"
    schema_version: ClassVar[int] = 1

    uri: str
    id_type: IdType
    entities: tuple[Entity, ...]
    """In the order they were asked for, ids first; an id or a row that stands there twice has two."""
    missing_ids: tuple[str, ...]
    """As they were asked for."""
    missing_rows: tuple[int, ...]
    num_row_groups: int
    """Of all files."""
    num_row_groups_read: int
    """Those that the statistics did not rule out."""

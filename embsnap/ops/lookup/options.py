"""What a lookup is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embsnap.formats.vocabulary_columns import VocabularyColumns

__all__ = ["RowLookupOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLookupOptions:
    """Which rows, and what of them."""

    ids: Sequence[str] = ()
    """As people write them: numbers in decimal digits, strings as they are, binary as `0x` and hexadecimal digits."""
    rows: Sequence[int] = ()
    """Of the first snapshot."""
    table: str | None = None
    """May be left out where the snapshot has one table."""
    vocab: str | None = None
    """URI; else the one that the sidecar records."""
    against: str | None = None
    """URI of a second snapshot, whose rows of the same entities are put beside."""
    table_against: str | None = None
    """The table's name there, if it is another one."""
    vocab_against: str | None = None
    """URI of the vocabulary there; else the one that its sidecar records."""
    neighbors: int = 0
    """How many of the nearest rows are looked for, over the whole table."""
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    threads: int = 1
    check: bool = True
    """Whether blocks that are read whole are compared with the sidecar's checksums."""
    storage_options: Mapping[str, str] = field(default_factory=dict)

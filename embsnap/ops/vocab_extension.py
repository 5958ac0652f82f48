"""What `embsnap.ops.vocab_extend` takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.vocabulary_writer import write_columns, write_vocabulary
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.vocab_left import Left, LeftEntity, Reason
from embsnap.ops.vocab_roster import Roster
from embsnap.ops.vocab_rows import Evict

__all__ = ["ExtendOptions", "ExtendResult", "Extended", "result_of"]

_MAX_SPECIAL_ROWS = 2**62
"""Beyond them there are rows for entities in an int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendOptions:
    """How a vocabulary is extended."""

    max_size: int | None = None
    """At most so many entities."""
    evict: Evict | None = None
    """Who leaves where there are more: by count, unless said otherwise."""
    keep_missing: bool = True
    """Whether entities stay that were not seen again."""
    decay: float | None = None
    """What of the old counts is kept, in [0, 1]: the new count is `floor(old * decay) + new`. 0 by default."""
    reserved: tuple[tuple[int, int], ...] = ()
    """Rows that nobody may have, beside those that the old vocabulary declares."""
    threads: int = 1

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: `bad-option`.
        """
        if self.max_size is not None and self.max_size < 1:
            raise _bad("--max-size", "1 or more", self.max_size)
        if self.decay is not None and not 0 <= self.decay <= 1:
            raise _bad("--decay", "a number in [0, 1]", self.decay)
        if self.evict is not None and self.max_size is None:
            raise _bad("--evict", "a --max-size with it", self.evict.value)
        for start, end in self.reserved:
            if not 0 <= start < end <= _MAX_SPECIAL_ROWS:
                raise _bad("--reserved", "rows [start, end) below 2**62", f"{start}:{end}")


@dataclass(frozen=True, slots=True)
class ExtendResult:
    """Who came, stayed and left."""

    schema: ClassVar[str] = "embsnap.vocab_extend"
    schema_version: ClassVar[int] = 1

    uri: str | None
    """Of the file; None if nothing was written."""
    left_uri: str | None
    """Of the list of those who left."""
    fingerprint: str
    num_old: int
    num_seen: int
    """Distinct ids that were given."""
    num_entities: int
    """Now."""
    num_stayed: int
    """Those with the row they had."""
    num_missing: int
    """Old entities that were not seen again, whether they stay or not."""
    num_added: int
    num_reused_rows: int
    """Added ones that took a free row; the others took new ones at the end."""
    num_not_admitted: int
    """New ones that found no place within `max_size`."""
    num_evicted: int
    num_dropped: int
    """Missing ones that were not kept."""
    num_merged: int
    """Whose id is one with another's now."""
    num_renamed: int
    num_split: int
    num_unused_aliases: int
    num_rows: int
    """That the table needs."""
    num_free_rows: int
    reserved: tuple[tuple[int, int], ...]
    oov: tuple[int, int] | None
    was_declared: bool
    """Whether the old vocabulary's metadata, or `reserved`, said which rows are; else those before the first entity."""
    left: tuple[LeftEntity, ...]
    """The first few of each reason, by row."""


@dataclass(frozen=True, slots=True, eq=False)
class Extended:
    """A vocabulary that is not written yet, and what there is to say of it."""

    vocabulary: Vocabulary
    left: Left
    result: ExtendResult

    def write(self, uri: str, *, left_uri: str | None = None, options: Mapping[str, str] | None = None) -> ExtendResult:
        """Write it, and before that the list of those who left, if that is wanted.

        Args:
            uri: A file that ends in `.parquet` or `.pq`, or an empty directory.
            left_uri: Likewise, for the columns id, row, count and reason of those who left.
            options: Of the stores.

        Raises:
            RefusedError: `destination-taken`.
            StorageError: The disk is full, or the storage failed.
        """
        if left_uri is not None:
            left_uri = write_columns(self.left.columns(), left_uri, options=options)
        return replace(self.result, uri=write_vocabulary(self.vocabulary, uri, options=options), left_uri=left_uri)


def result_of(
    old: Vocabulary,
    vocabulary: Vocabulary,
    roster: Roster,
    left: Left,
    *,
    fingerprint: str,
    num_seen: int,
    num_missing: int,
    num_reused: int,
    num_added: int,
    num_without_row: int,
    num_free: int,
    was_declared: bool,
) -> ExtendResult:
    """Put the report together.

    Args:
        old: The vocabulary before.
        vocabulary: The one after.
        roster: The old entities under their new ids.
        left: Whoever left.
        fingerprint: Of `vocabulary`.
        num_seen: Distinct new ids.
        num_missing: Entities with a row that were not seen.
        num_reused: Rows that were free before.
        num_added: Entities that had no row.
        num_without_row: Those who wanted one.
        num_free: Rows that are free now.
        was_declared: Whether it was said which rows are reserved.
    """
    declared = vocabulary.declared
    assert declared is not None
    assert declared.num_rows is not None
    return ExtendResult(
        uri=None,
        left_uri=None,
        fingerprint=fingerprint,
        num_old=len(old),
        num_seen=num_seen,
        num_entities=len(vocabulary),
        num_stayed=len(vocabulary) - num_added,
        num_missing=num_missing,
        num_added=num_added,
        num_reused_rows=num_reused,
        num_not_admitted=num_without_row - num_added,
        num_evicted=left.num(Reason.EVICTED),
        num_dropped=left.num(Reason.MISSING),
        num_merged=left.num(Reason.MERGED),
        num_renamed=roster.num_renamed,
        num_split=roster.num_split,
        num_unused_aliases=roster.num_unused,
        num_rows=declared.num_rows,
        num_free_rows=num_free,
        reserved=declared.reserved,
        oov=declared.oov,
        was_declared=was_declared,
        left=left.examples(),
    )


def _bad(where: str, expected: str, found: object) -> UsageError:
    return UsageError(ErrorKind.BAD_OPTION, "cannot be", where=where, expected=expected, found=found)

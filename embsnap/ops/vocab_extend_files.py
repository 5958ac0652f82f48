"""Extending a vocabulary in files by ids, or events, in files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.counted_ids import CountedIds, Cut
from embsnap.formats.event_files import EventColumns
from embsnap.formats.events import Engine, count_ids
from embsnap.formats.parquet import ParquetObject
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_aliases import read_aliases
from embsnap.formats.vocabulary_columns import VocabularyColumns, check_lacked, find_column
from embsnap.formats.vocabulary_files import find_parquet
from embsnap.formats.vocabulary_writer import check_destination
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.vocab_extend import extend_vocabulary
from embsnap.ops.vocab_extension import Extended, ExtendOptions
from embsnap.storage.uri import absolute_uri

__all__ = ["ExtendInputs", "extend_files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendInputs:
    """Where things are."""

    old: str
    """A vocabulary."""
    new: tuple[str, ...]
    """Files of ids (and counts and times), or of events."""
    aliases: str | None = None
    id_columns: tuple[str, ...] = ()
    """If any, `new` are events, and these their columns of ids."""
    time_column: str | None = None
    """Of events."""
    vocabulary_columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    """Of the old vocabulary."""
    engine: Engine = field(default_factory=Engine)
    storage_options: Mapping[str, str] = field(default_factory=dict)
    """Of the stores."""
    destinations: tuple[str, ...] = ()
    """Where the result is going to be written: refused at once if one is taken."""


def extend_files(inputs: ExtendInputs, options: ExtendOptions, *, progress: Progress = SILENT) -> Extended:
    """Read everything, and extend the old vocabulary.

    Args:
        inputs: Where it is.
        options: How to extend.
        progress: Is told the rows read and the records counted.

    Raises:
        EmbsnapError: What reading a vocabulary, counting events and `extend_vocabulary` raise.
        UsageError: `bad-option`: one destination is the other, or in it.
        RefusedError: `destination-taken`.
    """
    _check_apart(inputs.destinations)
    for uri in inputs.destinations:
        check_destination(uri, inputs.storage_options)
    old = read_vocabulary(
        inputs.old,
        columns=inputs.vocabulary_columns,
        options=inputs.storage_options,
        threads=options.threads,
        progress=progress,
    )
    aliases = None
    if inputs.aliases is not None:
        aliases = read_aliases(inputs.aliases, old.id_type, inputs.storage_options)
    new = _counted(inputs, progress)
    return extend_vocabulary(old, new, options, aliases=aliases, inputs=inputs.new)


def _check_apart(destinations: tuple[str, ...]) -> None:
    for uri, other in permutations(destinations, 2):
        if f"{_place(uri)}/".startswith(f"{_place(other)}/"):
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "is in the place of the vocabulary",
                where="--left",
                expected="a place beside --out",
                found=f"{uri} and {other}",
            )


def _place(uri: str) -> str:
    """An absolute URI, without what makes no difference."""
    return absolute_uri(uri.removeprefix("file://")).rstrip("/")


def _counted(inputs: ExtendInputs, progress: Progress) -> CountedIds:
    if inputs.id_columns:
        columns = EventColumns(inputs.id_columns, time=inputs.time_column)
        return count_ids(inputs.new, columns, engine=inputs.engine, options=inputs.storage_options, progress=progress)
    if inputs.time_column is not None:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "belongs to raw events",
            where="--time-column",
            expected="--id-column with it",
            found=inputs.time_column,
        )
    found = [find_parquet(uri, inputs.storage_options) for uri in inputs.new]
    files = (ParquetObject(part.store, location) for part in found for location in part.locations)
    first = next(files)
    names = {role: find_column(first, role) for role in ("id", "count", "last_seen")}
    if names["id"] is None:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "has no column that looks like ids",
            where=first.uri,
            expected="a column id, or --id-column for raw events",
            found=", ".join(first.names),
        )
    for file in files:
        for role in ("count", "last_seen"):
            check_lacked(file, role, names[role], first)
    columns = EventColumns((names["id"],), count=names["count"], time=names["last_seen"])
    counted = count_ids(
        inputs.new,
        columns,
        cut=Cut(min_count=0),
        engine=inputs.engine,
        options=inputs.storage_options,
        progress=progress,
    )
    return replace(counted, has_counts=names["count"] is not None)

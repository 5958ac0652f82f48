"""What of a snapshot is taken over as it lies: everything but the tables that a migration changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.torchsnapshot.regrouping import Kept
from embsnap.model.findings import Finding, Severity
from embsnap.model.manifest import (
    ChunkedTensorEntry,
    ContainerEntry,
    DTensorEntry,
    Entry,
    PrimitiveEntry,
    ShardedTensorEntry,
    TensorEntry,
    is_replicated,
)
from embsnap.model.paths import escape, split_entry_path, unescape
from embsnap.ops.migrate.draft import Draft, TableDraft

__all__ = ["kept_entries"]


def kept_entries(draft: Draft) -> tuple[Kept, tuple[Finding, ...]]:
    """Entries to take over, under the names and ranks that they have then, and notes on what is left out.

    Raises:
        IncompatibleError: `not-representable`: fewer ranks could not hold what only the last ones have; or state that
            is known by number alone would stay behind the rows that it may belong to.
    """
    _check_numbered(draft)
    gone = _gone(draft)
    names = _Names(draft)
    kept: dict[tuple[int, str], Entry] = {}
    for path, entry in draft.source.manifest.entries.items():
        split = split_entry_path(path)
        assert split is not None
        rank, logical = split
        if logical not in gone:
            kept[rank, names.path(logical)] = names.entry(logical, entry)
    before, after = draft.source.manifest.world_size, draft.world_size
    if before == after:
        return kept, ()
    return _regrouped(kept, before, after)


def _gone(draft: Draft) -> set[str]:
    """Logical paths of every weight and state that is written anew, or not at all."""
    source = draft.source
    stays = {table.weight_path for table in draft.tables.values() if not table.is_changed}
    gone: set[str] = set()
    for path, table in source.index.survey.items():
        if path not in stays and not isinstance(table, Exception):
            gone |= {path, *source.index.states.get(path, ())}
    return gone


def _check_numbered(draft: Draft) -> None:
    """Refuse to move rows away from a state that may be theirs: an optimizer of torch numbers its parameters."""
    index, by_path = draft.source.index, draft.source.listing.by_path
    movers = [table for table in draft.tables.values() if table.is_moved and not table.is_copy]
    moved = {table.origin.weight.path: table for table in movers}
    for path in index.numbered:
        shapes = list(_shapes(by_path[path].values()))
        for weight_path, table in moved.items():
            if not index.states.get(weight_path) and _fits(shapes, table.origin.weight.shape):
                raise IncompatibleError(
                    ErrorKind.NOT_REPRESENTABLE,
                    "optimizer state is known by the number of its parameter alone; it may be of rows that would move",
                    where=f"{path}, which has the shape of table {table.origin.name}",
                    expected="names beside the numbers (param_names), or a fused or keyed optimizer",
                    found=f"numbers, and shape {list(shapes[0])}",
                    hint="save the job with an optimizer that was built from model.named_parameters(); or take the "
                    "tables alone: embsnap warmstart",
                )


def _shapes(entries: Iterable[Entry]) -> Iterator[tuple[int, ...]]:
    for entry in entries:
        if isinstance(entry, TensorEntry | ChunkedTensorEntry):
            yield entry.shape
        elif isinstance(entry, ShardedTensorEntry | DTensorEntry):
            yield from (shard.sizes for shard in entry.shards)


def _fits(shapes: Sequence[tuple[int, ...]], weight: tuple[int, ...]) -> bool:
    """Whether the shapes on the ranks may be those of an optimizer state of the weight, whole or by rows."""
    if any(len(shape) != 2 or shape[1] not in (1, weight[1]) for shape in shapes):
        return False
    return weight[0] in (*(shape[0] for shape in shapes), sum(shape[0] for shape in shapes))


def _renamed_tables(draft: Draft) -> Iterator[tuple[str, str]]:
    """Old and new key of the weights that were renamed: of one with copies, that of the table itself."""
    heirs: dict[str, list[TableDraft]] = {}
    for table in draft.tables.values():
        heirs.setdefault(table.origin.weight.path, []).append(table)
    for old, tables in heirs.items():
        own = [table for table in tables if not table.is_copy] or tables
        new = own[0].weight_path
        if len(own) == 1 and old != new and old in draft.source.index.names:
            yield old.partition("/")[2], new.partition("/")[2]


class _Names:
    """Renames what lies below a prefix, and what names it: other tables' names are the steps' own business."""

    def __init__(self, draft: Draft) -> None:
        self._prefixes = [(old.partition("/"), new.partition("/")) for old, new in draft.renamed_prefixes]
        self._keys: dict[str, str] = {}
        for path in draft.source.listing.by_path:
            app, _, key = path.partition("/")
            if "/" not in key and (moved := self._moved(app, key)) != (app, key):
                self._keys[key] = moved[1]
        self._keys.update(_renamed_tables(draft))

    def _moved(self, app: str, key: str) -> tuple[str, str]:
        for (old_app, _, old), (new_app, _, new) in self._prefixes:
            old, new = escape(old), escape(new)
            if app == old_app and (key == old or key.startswith(f"{old}.")):
                app, key = new_app, new + key[len(old) :]
        return app, key

    def path(self, logical: str) -> str:
        """The path that an entry has then."""
        if not self._keys:
            return logical
        app, slash, rest = logical.partition("/")
        if slash and "/" not in rest:
            return "/".join(self._moved(app, rest))
        return "/".join([app, *(self._segment(part) for part in rest.split("/"))]) if slash else logical

    def _segment(self, part: str) -> str:
        """A parameter's name as optimizers write it: its key, perhaps with a prefix such as `dense_opt.`."""
        if part in self._keys:
            return self._keys[part]
        pieces = part.split(".")
        for start in range(1, len(pieces)):
            tail = ".".join(pieces[start:])
            if tail in self._keys:
                return ".".join([*pieces[:start], self._keys[tail]])
        return part

    def entry(self, logical: str, entry: Entry) -> Entry:
        """An entry that names what was renamed: a container's keys, a parameter in `param_groups`."""
        if not self._keys:
            return entry
        if isinstance(entry, ContainerEntry):
            children = [(key, self.path(f"{logical}/{escape(str(key))}")) for key in entry.keys]
            keys = [unescape(path.rpartition("/")[2]) if isinstance(key, str) else key for key, path in children]
            return replace(entry, keys=tuple(keys))
        if isinstance(entry, PrimitiveEntry) and entry.type == "str" and "/param_groups/" in logical:
            return replace(entry, serialized_value=self._segment(entry.serialized_value))
        return entry


def _regrouped(kept: Kept, before: int, after: int) -> tuple[Kept, tuple[Finding, ...]]:
    """The same entries over another number of ranks.

    Shards of ranks that are gone go to those that are left. New ranks get what every old rank has, from rank 0.
    """
    by_path: dict[str, dict[int, Entry]] = {}
    for (rank, path), entry in kept.items():
        by_path.setdefault(path, {})[rank] = entry
    grouped: dict[tuple[int, str], Entry] = {}
    left_out, copied = [], []
    for path, ranked in by_path.items():
        first = ranked[min(ranked)]
        if isinstance(first, ShardedTensorEntry | DTensorEntry):
            grouped.update({(rank, path): entry for rank, entry in _dealt(path, ranked, after)})
            continue
        if isinstance(first, ContainerEntry):
            grouped.update({(rank, path): ranked.get(rank, first) for rank in range(after)})
            continue
        remaining = {rank: entry for rank, entry in ranked.items() if rank < after}
        if not remaining:
            raise _lost(path, after)
        if len(remaining) < len(ranked):
            left_out.append(path)
        grouped.update({(rank, path): entry for rank, entry in remaining.items()})
        if after > before == len(ranked) and not is_replicated(first):
            copied.append(path)
            grouped.update({(rank, path): first for rank in range(before, after)})
    order = {path: number for number, path in enumerate(by_path)}
    ordered = dict(sorted(grouped.items(), key=lambda pair: (pair[0][0], order[pair[0][1]])))
    return ordered, tuple(_notes(left_out, copied, after))


def _dealt(path: str, ranked: dict[int, Entry], after: int) -> Iterator[tuple[int, Entry]]:
    first: Any = ranked[min(ranked)]
    if isinstance(first, DTensorEntry):
        raise IncompatibleError(
            ErrorKind.NOT_REPRESENTABLE,
            "a DTensor that is no table names the ranks of its mesh",
            where=path,
            expected="the world size as it was",
            found=after,
            hint="leave world_size out of the shard step",
        )
    shards: dict[int, list[Any]] = {rank: [] for rank in range(after)}
    for rank, entry in sorted(ranked.items()):
        shards[rank % after] += getattr(entry, "shards", ())
    yield from ((rank, ShardedTensorEntry(tuple(held))) for rank, held in shards.items())


def _lost(path: str, after: int) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.NOT_REPRESENTABLE,
        "only a rank that would be gone has it",
        where=path,
        expected="entries of a rank that is left",
        found=f"none below rank {after}",
        hint="choose a larger world_size",
    )


def _notes(left_out: list[str], copied: list[str], after: int) -> Iterator[Finding]:
    if left_out:
        message = f"the copies of {len(left_out)} entries on ranks from {after} on are left out"
        yield Finding(Severity.NOTE, "ranks-left-out", left_out[0], message, "", len(left_out), tuple(left_out[:3]))
    if copied:
        message = f"new ranks get rank 0's value of {len(copied)} entries that every rank has"
        yield Finding(Severity.NOTE, "ranks-added", copied[0], message, "", len(copied), tuple(copied[:3]))

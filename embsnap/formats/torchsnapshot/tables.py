"""The tables of a manifest: found by the names that torchrec gives them, put together when asked for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError
from embsnap.formats.torchsnapshot.arrays import assemble, assemble_entry, is_array, is_sharded, shapes_of
from embsnap.formats.torchsnapshot.collector import collector_paused
from embsnap.formats.torchsnapshot.dtensors import is_copy
from embsnap.formats.torchsnapshot.listing import Listing
from embsnap.formats.torchsnapshot.states import assemble_state, group_by_parameter, is_numbered
from embsnap.model.manifest import ChunkedTensorEntry, DTensorEntry, TensorEntry
from embsnap.model.paths import last_segment, split_entry_path
from embsnap.model.table import Sharding, StoredArray, Table

__all__ = ["TableIndex", "first_of_all_in_model", "named_weights"]

_WEIGHT_KEY = re.compile(r"(?:^|\.)(?:embedding_bags|embeddings)\.(?P<table>[^.]+)\.weight$")


class TableIndex:
    """Which tables a manifest holds, by name and by state key.

    Attributes:
        names: Logical path of a weight → name of its table, in file order.
        states: Logical path of a weight → logical paths of its optimizer states.
        unattached: States of some table that fit none, or several.
        numbered: States of optimizers of torch itself of which no name is known.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        arrays = [path for path, ranked in listing.by_path.items() if any(map(is_array, ranked.values()))]
        self.names = {path: name for path, name in named_weights(arrays) if _is_matrix(listing, path)}
        self.states: dict[str, list[str]] = {path: [] for path in self.names}
        self.unattached: list[str] = []
        self.numbered: list[str] = []
        self._by_name: dict[str, list[str]] = {}
        self._by_key: dict[str, list[str]] = {}
        for path, name in self.names.items():
            self._by_name.setdefault(name, []).append(path)
            self._by_key.setdefault(last_segment(path), []).append(path)
        self._attach(arrays)

    def find(self, name: str) -> str:
        """The logical path that a table's name, state key, logical path or full entry path stands for.

        Names match exactly. A table's name is tried first, then the state key, then the paths; any two-dimensional
        array can be named by its full entry path.

        Raises:
            NotFoundError: `no-such-table` or `ambiguous-table`, with candidates.
        """
        for matches in self._matches(name):
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise _ambiguous(name, matches)
        raise self._unknown(name)

    def build(self, name: str, *, with_state: bool = True) -> Table:
        """The table of that name, its cover proven, with its optimizer state.

        A full entry path of one rank's copy of a data-parallel table gives that copy.

        Args:
            name: As for `find`.
            with_state: False leaves the optimizer state unread.

        Raises:
            NotFoundError: As for `find`.
            SnapshotError: The weight or a state cannot be read as it stands.
        """
        return self._built(name, self.find(name), with_state=with_state)

    def _built(self, name: str, path: str, *, with_state: bool = True) -> Table:
        weight = self._weight(name, path)
        table = self.names.get(path, path)
        paths = self.states.get(path, []) if with_state else []
        state = tuple(assemble_state(self._listing, state, table, weight) for state in paths)
        sharding, ranks = self._placement(path, weight)
        return Table(name=table, weight=weight, state=state, sharding=sharding, ranks=ranks)

    @cached_property
    def survey(self) -> Mapping[str, Table | SnapshotError]:
        """Every table by the logical path of its weight, or why it cannot be read as it stands."""
        with collector_paused():
            return {path: self._surveyed(path) for path in self.names}

    def _surveyed(self, path: str) -> Table | SnapshotError:
        try:
            return self._built(path, path)
        except SnapshotError as error:
            return error

    def _attach(self, arrays: list[str]) -> None:
        of_parts: list[tuple[str, str, list[str]]] = []
        for parameter, paths in group_by_parameter(self._listing, arrays).items():
            match = _WEIGHT_KEY.search(parameter)
            if match is None:
                self.numbered += filter(is_numbered, paths if parameter.isdecimal() else ())
            elif owners := _owners(parameter, self._by_name.get(match["table"], [])):
                self._give(owners, paths)
            else:
                of_parts.append((match["table"], f".{parameter}", paths))
        for table, ending, paths in of_parts:
            weights = [path for path in self._by_name.get(table, []) if not self.states[path]]
            self._give([path for path in weights if last_segment(path).endswith(ending)], paths)

    def _give(self, owners: Sequence[str], paths: list[str]) -> None:
        """States to the one weight that they can be of."""
        if len({path.partition("/")[0] for path in paths}) == 1:  # two optimizers would be of two models
            owners = first_of_all_in_model(owners)
        if len(owners) == 1:
            self.states[owners[0]] += paths
        else:
            self.unattached += paths

    def _matches(self, name: str) -> Iterator[list[str]]:
        yield self._by_name.get(name, [])
        yield self._by_key.get(name, [])
        yield [name] if name in self.names else []
        split = split_entry_path(name)
        if split is not None and split[0] in self._listing.by_path.get(split[1], {}):
            yield [split[1]] if _is_matrix(self._listing, split[1]) else []

    def _weight(self, name: str, path: str) -> StoredArray:
        split = split_entry_path(name)
        entry = self._listing.manifest.entries.get(name)
        if split is not None and split[1] == path and isinstance(entry, TensorEntry | ChunkedTensorEntry):
            return assemble_entry(path, entry, split[0])
        return assemble(self._listing, path)

    def _placement(self, path: str, weight: StoredArray) -> tuple[Sharding, tuple[int, ...]]:
        ranked = self._listing.by_path[path]
        world_size = self._listing.manifest.world_size
        if not any(map(is_sharded, ranked.values())):
            copies = len(ranked) > 1 or any(getattr(entry, "replicated", False) for entry in ranked.values())
            alone = Sharding.TABLE_WISE if world_size > 1 else Sharding.WHOLE
            return Sharding.DATA_PARALLEL if copies and world_size > 1 else alone, tuple(sorted(ranked))
        ranks = tuple(sorted({piece.rank for piece in weight.pieces}))
        if world_size > 1 and all(isinstance(entry, DTensorEntry) and is_copy(entry) for entry in ranked.values()):
            return Sharding.DATA_PARALLEL, ranks
        return _sharding(weight, ranks, world_size), ranks

    def _unknown(self, name: str) -> NotFoundError:
        tables = sorted(set(self.names.values()))
        close = difflib.get_close_matches(last_segment(name), tables, n=3)
        listed = ", ".join(tables[:20]) + (f" and {len(tables) - 20} more" if len(tables) > 20 else "")
        return NotFoundError(
            ErrorKind.NO_SUCH_TABLE,
            "there is no such table",
            where=name,
            expected=f"one of {listed}" if tables else "a table, of which there are none",
            hint=f"did you mean {' or '.join(close)}?" if close else "`embsnap inspect` lists tables and other entries",
        )


def first_of_all_in_model(paths: Sequence[str]) -> Sequence[str]:
    """Those under the app key `model`, if there are any: a copy beside it, as of its averages, has its state keys."""
    return [path for path in paths if path.startswith("model/")] or paths


def named_weights(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those logical paths that are of a table's weight, by their state keys, each with the table's name."""
    for path in paths:
        match = _WEIGHT_KEY.search(last_segment(path))
        if match is not None:
            yield path, match["table"]


def _is_matrix(listing: Listing, path: str) -> bool:
    shapes = shapes_of(listing.by_path[path].values())
    return all(len(shape) == 2 for shape in shapes)


def _owners(parameter: str, weights: list[str]) -> Sequence[str]:
    """The weights whose state key is the longest that `parameter` is or ends in after a dot."""
    keys: Mapping[str, str] = {path: last_segment(path) for path in weights}
    fitting = [path for path, key in keys.items() if parameter == key or parameter.endswith(f".{key}")]
    longest = max((len(keys[path]) for path in fitting), default=0)
    return [path for path in fitting if len(keys[path]) == longest]


def _sharding(weight: StoredArray, ranks: tuple[int, ...], world_size: int) -> Sharding:
    """Pieces of one rank that only cut rows are one shard, which torchsnapshot divided to bound its objects."""
    holders: dict[tuple[int, int], set[int]] = {}
    for piece in weight.pieces:
        holders.setdefault((piece.offsets[1], piece.sizes[1]), set()).add(piece.rank)
    if len(holders) <= 1:
        alone = Sharding.TABLE_WISE if world_size > 1 else Sharding.WHOLE
        return Sharding.ROW_WISE if len(ranks) > 1 else alone
    return Sharding.COLUMN_WISE if all(len(held_by) == 1 for held_by in holders.values()) else Sharding.GRID


def _ambiguous(name: str, matches: list[str]) -> NotFoundError:
    return NotFoundError(
        ErrorKind.AMBIGUOUS_TABLE,
        f"names {len(matches)} tables",
        where=name,
        found=", ".join(matches[:10]),
        hint="give the whole path of one of them",
    )

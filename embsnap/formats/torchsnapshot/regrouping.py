"""The manifest of a snapshot that is put together anew: what is kept, what is computed, and containers that fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.torchsnapshot.assembly import Assembly, PlacedArray
from embsnap.formats.torchsnapshot.layout import PlacedPiece
from embsnap.model.manifest import (
    ChunkedTensorEntry,
    ContainerEntry,
    Entry,
    Manifest,
    Shard,
    ShardedTensorEntry,
    TensorEntry,
)
from embsnap.model.paths import child_path, join_entry_path, unescape

__all__ = ["Kept", "regroup"]

Kept = Mapping[tuple[int, str], Entry]
"""Entries by rank and logical path, containers among them, in the order of the old manifest."""

_Pieces = Mapping[int, Sequence[tuple[str, PlacedPiece]]]


def regroup(
    version: str,
    world_size: int,
    kept: Kept,
    arrays: Sequence[PlacedArray],
    assembly: Assembly,
    locations: Sequence[str],
) -> Manifest:
    """The manifest: for each rank containers, then kept entries, then arrays.

    A sharded array has an entry under every rank, one without shards where a rank holds none of it; a tensor stands
    under rank 0 for all. A container is kept if something in it is, or if nothing ever was; keys that name nothing any
    more are left out.

    Args:
        version: Of torchsnapshot, as the old manifest has it.
        world_size: Number of ranks.
        kept: What is taken over.
        arrays: What is computed.
        assembly: Where the bytes of both are.
        locations: Of the assembly's objects.

    Raises:
        UsageError: `bad-option`: an array would lie where something else is kept.
    """
    pieces = assembly.pieces(locations)
    leaves = {place: assembly.moved(place, entry, pieces) for place, entry in kept.items() if not _is_container(entry)}
    for index, placed in enumerate(arrays):
        for rank, entry in _entries(index, placed, assembly, pieces, world_size):
            if (rank, placed.array.path) in kept:
                raise UsageError(
                    ErrorKind.BAD_OPTION,
                    "something else lies there already",
                    where=placed.array.path,
                    expected="a free place",
                    hint="rename the table, or its prefix",
                )
            leaves[rank, placed.array.path] = entry
    shared = [placed.array.path for placed in arrays if not placed.array.is_sharded]
    containers = _containers(kept, leaves, shared, world_size)
    ordered = {**containers, **leaves}
    entries = {join_entry_path(*place): ordered[place] for place in sorted(ordered, key=lambda place: place[0])}
    return Manifest(version, world_size, entries)


def _entries(
    index: int, placed: PlacedArray, assembly: Assembly, pieces: _Pieces, world_size: int
) -> Iterator[tuple[int, Entry]]:
    array = placed.array
    shards: dict[int, list[Shard]] = {rank: [] for rank in range(world_size)}
    for number, part in enumerate(placed.parts):
        for location, piece in pieces[assembly.parts[index, number]]:
            row = part.row + piece.start_row
            sizes = _sizes(array.shape, piece.end_row - piece.start_row, part.source.dim)
            offsets = (row, *((part.column,) * (len(array.shape) - 1))) if array.shape else ()
            is_whole = not array.is_sharded and sizes == array.shape
            byte_range = (piece.start, piece.end)
            tensor = TensorEntry(location, "buffer_protocol", array.dtype.torch_name, sizes, is_whole, byte_range)
            shards[part.rank].append(Shard(offsets, sizes, tensor))
    if array.is_sharded:
        yield from ((rank, ShardedTensorEntry(tuple(held))) for rank, held in shards.items())
    elif len(shards[0]) == 1 and 0 not in array.shape:
        yield 0, shards[0][0].tensor
    else:
        chunks = tuple(shards[0]) if 0 not in array.shape else ()
        yield 0, ChunkedTensorEntry(array.dtype.torch_name, array.shape, chunks, replicated=True)


def _sizes(shape: tuple[int, ...], num_rows: int, dim: int) -> tuple[int, ...]:
    return () if not shape else (num_rows,) if len(shape) == 1 else (num_rows, dim)


def _is_container(entry: Entry) -> bool:
    return isinstance(entry, ContainerEntry)


def _containers(
    kept: Kept, leaves: Mapping[tuple[int, str], Entry], shared: Sequence[str], world_size: int
) -> dict[tuple[int, str], Entry]:
    """Every container that something lies in, or that was kept empty, with the keys of what is there."""
    for_all = {path for (_, path), entry in leaves.items() if getattr(entry, "replicated", False)} | set(shared)
    needed: dict[tuple[int, str], dict[str, None]] = {}
    for rank in range(world_size):
        own = [path for (holder, path) in leaves if holder == rank]
        named = [path for path in for_all if (rank, path) not in leaves and _is_named(path, rank, kept, shared)]
        empty = [
            path
            for (holder, path), entry in kept.items()
            if holder == rank and isinstance(entry, ContainerEntry) and not entry.keys and entry.type != "list"
        ]
        for path in [*own, *sorted(named), *empty]:
            while "/" in path:
                path, child = path.rpartition("/")[0], path
                needed.setdefault((rank, path), {})[child] = None
        for path in empty:
            needed.setdefault((rank, path), {})
    order = {place: number for number, place in enumerate(kept)}
    places = sorted(needed, key=lambda place: (order.get(place, len(order)), place[1].count("/"), place))
    return {place: _container(place, kept.get(place), needed[place]) for place in places}


def _is_named(path: str, rank: int, kept: Kept, shared: Sequence[str]) -> bool:
    """Whether an entry of rank 0 that stands for all is to be named by another rank's container."""
    parent, _, key = path.rpartition("/")
    container = kept.get((rank, parent))
    return path in shared or (isinstance(container, ContainerEntry) and unescape(key) in map(str, container.keys))


def _container(place: tuple[int, str], old: Entry | None, children: Mapping[str, None]) -> ContainerEntry:
    left = dict(children)
    if not isinstance(old, ContainerEntry):
        kind = (
            "OrderedDict"
            if any(child.endswith(".weight") for child in children) and "/state/" not in place[1]
            else "dict"
        )
        return ContainerEntry(kind, tuple(unescape(child.rpartition("/")[2]) for child in left))
    if old.type == "list":
        return old
    keys = []
    for key in old.keys:
        child = child_path(place[1], key)
        if child in left:
            del left[child]
            keys.append(key)
    added = [unescape(child.rpartition("/")[2]) for child in left]
    return ContainerEntry(old.type, (*keys, *added), old.extra)

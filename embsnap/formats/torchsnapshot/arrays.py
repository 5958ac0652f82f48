"""From manifest entries to arrays whose pieces are proven to cover them, each element once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NoReturn

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.listing import Listing
from embsnap.model.dtypes import DTYPES, DType
from embsnap.model.geometry import bounding_shape, cover_defect
from embsnap.model.manifest import (
    ArrayEntry,
    ChunkedTensorEntry,
    DTensorEntry,
    Entry,
    Shard,
    ShardedTensorEntry,
    TensorEntry,
    UnknownEntry,
)
from embsnap.model.paths import join_entry_path
from embsnap.model.table import Piece, StoredArray
from embsnap.storage.base import check_location

__all__ = ["assemble", "assemble_entry", "is_array", "is_sharded", "prove_cover", "shapes_of"]

_BUFFER_PROTOCOL = "buffer_protocol"
_SHARDED = (ShardedTensorEntry, DTensorEntry)
_ARRAYS = (TensorEntry, ChunkedTensorEntry, *_SHARDED)
"""Made once: a manifest may hold hundreds of thousands of entries, and each is looked at several times."""


def is_array(entry: Entry) -> bool:
    """True for the four kinds of tensor entries."""
    return isinstance(entry, _ARRAYS)


def is_sharded(entry: Entry) -> bool:
    """True if an entry holds its own rank's part of an array only."""
    return isinstance(entry, _SHARDED)


def shapes_of(entries: Iterable[Entry]) -> set[tuple[int, ...]]:
    """The shapes that array entries name, those of shards among them."""
    shapes: set[tuple[int, ...]] = set()
    for entry in entries:
        if isinstance(entry, _SHARDED):
            shapes.update(shard.sizes for shard in entry.shards)
        elif isinstance(entry, TensorEntry | ChunkedTensorEntry):
            shapes.add(entry.shape)
    return shapes


def assemble(listing: Listing, logical: str) -> StoredArray:
    """The array under a logical path: the shards of all ranks, or the copy of the lowest rank that has one.

    Raises:
        SnapshotError: `bad-cover`, `bad-entry`, `opaque-entry` or `unsafe-location`: it cannot be read as it stands.
    """
    ranked = _array_entries(listing, logical)
    if not all(map(is_sharded, ranked.values())):
        if any(map(is_sharded, ranked.values())):
            _refuse(ErrorKind.BAD_ENTRY, "is sharded on one rank and whole on another", logical)
        rank = min(ranked)
        return assemble_entry(logical, ranked[rank], rank)
    _check_all_listed(listing, logical)
    return _assemble_sharded(logical, ranked)


def assemble_entry(logical: str, entry: ArrayEntry, rank: int) -> StoredArray:
    """The array that one rank's entry holds.

    Raises:
        SnapshotError: As for `assemble`.
    """
    where = join_entry_path(rank, logical)
    if isinstance(entry, TensorEntry):
        whole = Shard(offsets=(0,) * len(entry.shape), sizes=entry.shape, tensor=entry)
        return _build(logical, where, entry.type, entry.shape, entry.dtype, [(rank, whole)])
    if isinstance(entry, ChunkedTensorEntry):
        chunks = [(rank, chunk) for chunk in entry.chunks]
        return _build(logical, where, entry.type, entry.shape, entry.dtype, chunks)
    return _assemble_sharded(logical, {rank: entry})


def prove_cover(array: StoredArray, where: str) -> StoredArray:
    """Return `array` if its pieces cover it exactly.

    Raises:
        SnapshotError: `bad-cover`.
    """
    defect = cover_defect(array.shape, array.pieces)
    if defect is not None:
        _refuse(ErrorKind.BAD_COVER, f"its pieces do not cover it exactly: {defect.kind}", where, found=defect.message)
    return array


def _array_entries(listing: Listing, logical: str) -> Mapping[int, ArrayEntry]:
    ranked: dict[int, ArrayEntry] = {}
    for rank, entry in listing.by_path.get(logical, {}).items():
        if isinstance(entry, _ARRAYS):
            ranked[rank] = entry
            continue
        problem = entry.problem if isinstance(entry, UnknownEntry) and entry.problem else "is no tensor"
        _refuse(ErrorKind.BAD_ENTRY, problem, join_entry_path(rank, logical), found=f"an entry of type {entry.type!r}")
    if not ranked:
        _refuse(ErrorKind.BAD_ENTRY, "is not in the manifest", logical)
    return ranked


def _check_all_listed(listing: Listing, logical: str) -> None:
    """A shard that the manifest lost at the end of a table would only make the table look smaller."""
    world_size = listing.manifest.world_size
    if listing.silent_rank is not None:
        found = f"no entry of rank {listing.silent_rank}"
        _refuse(ErrorKind.BAD_COVER, "shards may be missing", logical, f"entries of {world_size} ranks", found)
    if logical in listing.missing:
        found = f"none under rank {listing.missing[logical][0]}, whose container names it"
        _refuse(ErrorKind.BAD_COVER, "shards may be missing", logical, "an entry wherever it is named", found)


def _assemble_sharded(logical: str, ranked: Mapping[int, ArrayEntry]) -> StoredArray:
    shards = [
        (rank, shard) for rank, entry in sorted(ranked.items()) if isinstance(entry, _SHARDED) for shard in entry.shards
    ]
    form = next(iter(ranked.values())).type
    if form == "DTensor":
        shards = _without_replicas(shards)
    shape = bounding_shape([shard for _, shard in shards])
    if shape is None:
        _refuse(ErrorKind.BAD_COVER, "its shards do not make one array", logical, found=f"{len(shards)} shards")
    return _build(logical, logical, form, shape, shards[0][1].tensor.dtype, shards)


def _without_replicas(shards: Sequence[tuple[int, Shard]]) -> list[tuple[int, Shard]]:
    """A DTensor may be sharded over one mesh dimension and replicated over another: ranks then list the same box."""
    first: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, Shard]] = {}
    for rank, shard in shards:
        first.setdefault((shard.offsets, shard.sizes), (rank, shard))
    return list(first.values())


def _build(
    logical: str, where: str, form: str, shape: tuple[int, ...], dtype_name: str, shards: Sequence[tuple[int, Shard]]
) -> StoredArray:
    for _, shard in shards:
        if shard.tensor.serializer != _BUFFER_PROTOCOL:
            _refuse_serializer(shard, where)
    dtype = _dtype(dtype_name, where)
    pieces = [_piece(shard, dtype, rank, where) for rank, shard in shards]
    array = StoredArray(path=logical, dtype=dtype, shape=shape, pieces=tuple(pieces), form=form)
    prove_cover(array, where)
    filled = sorted([piece for piece in pieces if 0 not in piece.sizes], key=lambda piece: piece.offsets)
    return replace(array, pieces=tuple(filled))


def _refuse_serializer(shard: Shard, where: str) -> NoReturn:
    found = repr(shard.tensor.serializer)
    _refuse(ErrorKind.OPAQUE_ENTRY, "is not stored as plain bytes", where, _BUFFER_PROTOCOL, found)


def _dtype(name: str, where: str) -> DType:
    dtype = DTYPES.get(name.removeprefix("torch.")) if name.startswith("torch.") else None
    if dtype is None:
        _refuse(ErrorKind.BAD_ENTRY, "has a dtype that is not read", where, f"torch.{{{', '.join(DTYPES)}}}", name)
    return dtype


def _piece(shard: Shard, dtype: DType, rank: int, where: str) -> Piece:
    tensor = shard.tensor
    if tensor.dtype != dtype.torch_name:
        _refuse(ErrorKind.BAD_ENTRY, "has pieces of several dtypes", where, dtype.torch_name, tensor.dtype)
    check_location(tensor.location, where=where)
    start, end = tensor.byte_range or (0, None)
    num_bytes = prod(shard.sizes) * dtype.itemsize
    if end is not None and end - start != num_bytes:
        expected = f"{num_bytes} bytes for {list(shard.sizes)} of {dtype}"
        _refuse(ErrorKind.BAD_ENTRY, "has a byte range of another length", where, expected, f"[{start}, {end})")
    return Piece(shard.offsets, shard.sizes, tensor.location, start, end, rank)


def _refuse(
    kind: ErrorKind, problem: str, where: str, expected: str | None = None, found: str | None = None
) -> NoReturn:
    hint = "run `embsnap inspect` on the snapshot for all findings; take it again if it is damaged"
    raise SnapshotError(kind, problem, where=where, expected=expected, found=found, hint=hint)

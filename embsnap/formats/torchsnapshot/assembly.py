"""A snapshot put together from arrays that are computed and entries that are kept, for any number of ranks.

Kept bytes are copied unopened; only where they lie changes in their entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.contents import ArrayToWrite
from embsnap.formats.torchsnapshot.layout import OBJECT_BYTES, ObjectLayout, PlacedPiece, place
from embsnap.formats.torchsnapshot.metadata_findings import tensors_of
from embsnap.model.dtypes import DTYPES, DType
from embsnap.model.manifest import Entry, ObjectEntry, TensorEntry
from embsnap.model.rows import RowSource
from embsnap.storage.base import RangeRead, Store, check_location

__all__ = ["Assembly", "ByteRows", "Part", "PlacedArray", "assemble_objects", "kept_bytes"]

_UINT8 = DTYPES["uint8"]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A rectangle of an array, with its own bytes and its own rank."""

    rank: int
    row: int
    """First row of the array."""
    column: int
    """First column."""
    source: RowSource


@dataclass(frozen=True, slots=True, eq=False)
class PlacedArray:
    """An array to write, and how it is cut."""

    array: ArrayToWrite
    parts: tuple[Part, ...]
    """They cover it; a `tensor` array has one."""


_Place = tuple[int, str]
"""Rank and logical path."""
_Blob = tuple[str, int, int | None]
"""Location and byte range of kept bytes; None for the end of the object."""


@dataclass(frozen=True, slots=True, eq=False)
class Assembly:
    """What is written: sources, the objects they go to, and where each part and each blob lies then."""

    sources: tuple[ArrayToWrite, ...]
    layouts: tuple[ObjectLayout, ...]
    """Pieces name a source by its index."""
    parts: Mapping[tuple[int, int], int]
    """Index of the source of part j of array i."""
    blobs: Mapping[tuple[_Place, int], int]
    """Index of the source of the bytes number j of a kept entry."""

    def pieces(self, locations: Sequence[str]) -> dict[int, list[tuple[str, PlacedPiece]]]:
        """By source the pieces that hold it, in order of rows, once objects have locations."""
        found: dict[int, list[tuple[str, PlacedPiece]]] = {}
        for location, layout in zip(locations, self.layouts, strict=True):
            for piece in layout.pieces:
                found.setdefault(piece.array, []).append((location, piece))
        return {source: sorted(pieces, key=lambda pair: pair[1].start_row) for source, pieces in found.items()}

    def moved(self, place: _Place, entry: Entry, pieces: Mapping[int, Sequence[tuple[str, PlacedPiece]]]) -> Entry:
        """A kept entry that names the new places of its bytes."""
        if isinstance(entry, ObjectEntry):
            [(location, _)] = pieces[self.blobs[place, 0]]
            return replace(entry, location=location)
        if isinstance(entry, TensorEntry):
            return self._moved_tensor((place, 0), entry, pieces)
        for name in ("chunks", "shards"):
            if hasattr(entry, name):
                shards = [
                    replace(shard, tensor=self._moved_tensor((place, number), shard.tensor, pieces))
                    for number, shard in enumerate(getattr(entry, name))
                ]
                changes: dict[str, Any] = {name: tuple(shards)}
                return replace(entry, **changes)
        return entry

    def _moved_tensor(
        self, key: tuple[_Place, int], tensor: TensorEntry, pieces: Mapping[int, Sequence[tuple[str, PlacedPiece]]]
    ) -> TensorEntry:
        if key not in self.blobs:  # no bytes; any object will do
            return replace(tensor, location=min(pieces.items())[1][0][0], byte_range=(0, 0)) if pieces else tensor
        [(location, piece)] = pieces[self.blobs[key]]
        return replace(
            tensor, location=location, byte_range=None if tensor.byte_range is None else (piece.start, piece.end)
        )


def assemble_objects(arrays: Sequence[PlacedArray], kept: Mapping[_Place, Entry], store: Store) -> Assembly:
    """Lay everything out: the largest arrays first, then kept bytes, for each entry its own.

    Args:
        arrays: What is computed.
        kept: Entries whose bytes are copied.
        store: Where kept bytes lie.

    Raises:
        SnapshotError: `missing-object` or `unsafe-location` of a kept entry.
    """
    sources: list[ArrayToWrite] = []
    parts: dict[tuple[int, int], int] = {}
    sizes = [prod(found.array.shape) * found.array.dtype.itemsize for found in arrays]
    for i in sorted(range(len(arrays)), key=lambda i: -sizes[i]):
        for j, part in enumerate(arrays[i].parts):
            parts[i, j] = len(sources)
            sources.append(_source(arrays[i].array.path, arrays[i].array.dtype, part.source))
    layouts = list(place([source.rows for source in sources]))
    blobs: dict[tuple[_Place, int], int] = {}
    small: list[int] = []
    for key, blob in _all_blobs(kept):
        num_bytes = _num_bytes(blob, store)
        blobs[key] = len(sources)
        sources.append(_source(blob[0], _UINT8, ByteRows(store, blob[0], blob[1], num_bytes)))
        if blob[2] is None or num_bytes > OBJECT_BYTES:
            layouts.append(ObjectLayout((PlacedPiece(blobs[key], 0, num_bytes, 0, num_bytes),)))
        else:
            small.append(blobs[key])
    for layout in place([sources[index].rows for index in small]):
        layouts.append(ObjectLayout(tuple(replace(piece, array=small[piece.array]) for piece in layout.pieces)))
    return Assembly(tuple(sources), tuple(layouts), parts, blobs)


def kept_bytes(kept: Mapping[_Place, Entry], store: Store) -> int:
    """How many bytes kept entries name; errors as those of `assemble_objects`."""
    return sum(_num_bytes(blob, store) for _, blob in _all_blobs(kept))


def _all_blobs(kept: Mapping[_Place, Entry]) -> Iterator[tuple[tuple[_Place, int], _Blob]]:
    """Kept bytes, with their entry and their number in it; tensors without bytes have a number too."""
    for key, entry in kept.items():
        for number, blob in enumerate(_blobs(entry)):
            if blob[1] != blob[2]:
                yield (key, number), blob


def _source(path: str, dtype: DType, rows: RowSource) -> ArrayToWrite:
    return ArrayToWrite(path, dtype, (rows.num_rows, rows.dim), rows)


def _blobs(entry: Entry) -> Iterator[_Blob]:
    if isinstance(entry, ObjectEntry):
        yield _blob(entry)
    yield from map(_blob, tensors_of(entry))


def _blob(entry: TensorEntry | ObjectEntry) -> _Blob:
    """The bytes of an entry. A plain tensor without a range is as long as its shape says."""
    if isinstance(entry, ObjectEntry):
        return entry.location, 0, None
    if entry.byte_range is not None:
        return entry.location, *entry.byte_range
    return entry.location, 0, None


def _num_bytes(blob: _Blob, store: Store) -> int:
    location, start, end = blob
    check_location(location, where="a kept entry")
    info = store.stat(location)
    if info is None or (end is not None and info.size < end):
        missing = info is None
        raise SnapshotError(
            ErrorKind.MISSING_OBJECT if missing else ErrorKind.SHORT_OBJECT,
            "the object is missing" if missing else "the object is too short",
            where=f"{store.uri}/{location}",
            expected="an object" if missing else f"at least {end} bytes",
            found="none" if info is None else f"{info.size} bytes",
            hint="the snapshot is damaged: drop what names the object, or use another snapshot",
        )
    return (info.size if end is None else end) - start


class ByteRows:
    """Bytes of an object as rows of one byte."""

    dim = 1
    dtype = np.dtype(np.uint8)

    def __init__(self, store: Store, location: str, start: int, num_bytes: int) -> None:
        self.num_rows = num_bytes
        self._store, self._location, self._start = store, location, start

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """The bytes `[start, end)`."""
        if end > start:
            buffer = out_ND.reshape(-1).data
            self._store.read_ranges(self._location, [RangeRead(self._start + start, buffer)])

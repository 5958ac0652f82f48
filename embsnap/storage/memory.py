"""Objects in this process' memory, by the name of their store: for tests and for trying things out."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from embsnap.errors import ErrorKind, NotFoundError, RefusedError, StorageError
from embsnap.storage.base import Buffer, ObjectInfo, RangeRead, Store, Writer, check_location

__all__ = ["MemoryStore"]

_objects: dict[str, tuple[bytes, str, float]] = {}
"""Full URI → bytes, generation and time of writing. Every access is one call, so that threads need no lock."""
_generations = itertools.count()


class MemoryStore(Store):
    """The objects whose URI starts with one `memory://name`; all stores of the process see the same objects."""

    def __init__(self, uri: str) -> None:
        """Address the objects under `uri`, which begins with `memory://`."""
        self.uri = uri.rstrip("/")

    def stat(self, location: str) -> ObjectInfo | None:
        """Size and generation of an object, or None."""
        found = _objects.get(self._key(location))
        return None if found is None else _info(location, found)

    def read(self, location: str, *, limit: int) -> bytes:
        """A small object whole."""
        data = self._get(location)
        if len(data) > limit:
            raise StorageError(
                ErrorKind.OBJECT_TOO_LARGE,
                "is larger than embsnap reads in one piece",
                where=self._key(location),
                expected=f"at most {limit} bytes",
                found=f"{len(data)} bytes",
                hint="check what wrote it",
            )
        return data

    def read_ranges(self, location: str, requests: Sequence[RangeRead]) -> None:
        """Copy every range into its buffer."""
        data = memoryview(self._get(location))
        for request in requests:
            end = request.start + len(request.buffer)
            if request.buffer and end > len(data):
                raise StorageError(
                    ErrorKind.SHORT_READ,
                    "ends before the bytes that were asked for",
                    where=self._key(location),
                    expected=f"bytes [{request.start}, {end})",
                    found=f"an object of {len(data)} bytes",
                    hint="the object was cut off: write it again",
                )
            request.buffer[:] = data[request.start : end]
            request.note_arrival(request.start, end)

    def map(self, location: str) -> memoryview:
        """The object itself, read-only."""
        return memoryview(self._get(location))

    def open(self, location: str) -> BinaryIO:
        """A seekable view of the object."""
        return io.BytesIO(self._get(location))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects under the prefix, sorted."""
        start = f"{self.uri}/"
        for key, found in sorted(_objects.items()):
            if key.startswith(start + prefix):
                yield _info(key[len(start) :], found)

    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Names directly under a directory."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        parts = (found.location[len(start) :].partition("/") for found in self.list(start))
        return tuple(sorted({name + slash for name, slash, _ in parts}))

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """Keep a copy of `data`, if the location is free."""
        mine = (bytes(data), str(next(_generations)), time.time())
        if _objects.setdefault(self._key(location), mine) is not mine:
            raise RefusedError(
                ErrorKind.DESTINATION_TAKEN,
                "exists already, and embsnap overwrites nothing",
                where=self._key(location),
                hint="write to another destination",
            )
        return _info(location, mine)

    def writer(self, location: str) -> Writer:
        """Start an object."""
        check_location(location, where=self.uri)
        return _MemoryWriter(self, location)

    def delete(self, location: str) -> None:
        """Forget an object."""
        _objects.pop(self._key(location), None)

    def clear(self) -> None:
        """Forget all objects under the root."""
        for found in self.list():
            self.delete(found.location)

    def _key(self, location: str) -> str:
        return f"{self.uri}/{check_location(location, where=self.uri)}"

    def _get(self, location: str) -> bytes:
        found = _objects.get(self._key(location))
        if found is None:
            hint = "objects in memory live as long as the process that wrote them"
            raise NotFoundError(
                ErrorKind.NO_SUCH_OBJECT, "there is no such object", where=self._key(location), hint=hint
            )
        return found[0]


def _info(location: str, found: tuple[bytes, str, float]) -> ObjectInfo:
    data, generation, modified = found
    return ObjectInfo(location, len(data), generation, modified)


class _MemoryWriter(Writer):
    def __init__(self, store: MemoryStore, location: str) -> None:
        self._store = store
        self._location = location
        self._data = bytearray()

    def write(self, data: Buffer) -> None:
        self._data += data

    def close(self) -> ObjectInfo:
        try:
            return self._store.create(self._location, self._data)
        finally:
            self.abort()

    def abort(self) -> None:
        self._data = bytearray()

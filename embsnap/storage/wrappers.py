"""Stores around a store: one that passes everything on, one that counts, one that refuses to write."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Lock
from typing import Any, BinaryIO, cast

from embsnap.errors import ErrorKind, RefusedError
from embsnap.storage.base import Buffer, ObjectInfo, RangeRead, Store, Writer, check_location

__all__ = ["CountingStore", "ReadOnlyStore", "WrapperStore", "WrapperWriter"]


class WrapperStore(Store):
    """Passes every call on to another store. Subclasses change what they are about."""

    def __init__(self, inner: Store) -> None:
        """Wrap `inner`."""
        self.inner = inner
        self.uri = inner.uri

    def stat(self, location: str) -> ObjectInfo | None:
        """As the inner store."""
        return self.inner.stat(location)

    def hold(self, info: ObjectInfo) -> None:
        """As the inner store."""
        self.inner.hold(info)

    def read(self, location: str, *, limit: int) -> bytes:
        """As the inner store."""
        return self.inner.read(location, limit=limit)

    def read_ranges(self, location: str, requests: Sequence[RangeRead]) -> None:
        """As the inner store."""
        self.inner.read_ranges(location, requests)

    def map(self, location: str) -> memoryview | None:
        """As the inner store."""
        return self.inner.map(location)

    def open(self, location: str) -> BinaryIO:
        """As the inner store."""
        return self.inner.open(location)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """As the inner store."""
        return self.inner.list(prefix)

    def unfinished(self) -> Iterator[ObjectInfo]:
        """As the inner store."""
        return self.inner.unfinished()

    def uploads(self) -> Iterator[ObjectInfo]:
        """As the inner store."""
        return self.inner.uploads()

    def drop_upload(self, info: ObjectInfo) -> None:
        """As the inner store."""
        self.inner.drop_upload(info)

    def children(self, prefix: str = "") -> tuple[str, ...]:
        """As the inner store."""
        return self.inner.children(prefix)

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """As the inner store."""
        return self.inner.create(location, data)

    def writer(self, location: str) -> Writer:
        """As the inner store."""
        return self.inner.writer(location)

    def delete(self, location: str) -> None:
        """As the inner store."""
        self.inner.delete(location)


class WrapperWriter(Writer):
    """Passes every call on to another writer."""

    def __init__(self, inner: Writer) -> None:
        """Wrap `inner`."""
        self.inner = inner

    def write(self, data: Buffer) -> None:
        """As the inner writer."""
        self.inner.write(data)

    def close(self) -> ObjectInfo:
        """As the inner writer."""
        return self.inner.close()

    def abort(self) -> None:
        """As the inner writer."""
        self.inner.abort()


class CountingStore(WrapperStore):
    """Counts requests and bytes, from any thread.

    A mapped object counts as one request and no bytes, because what is touched of it cannot be seen from here;
    with `maps=False` it maps nothing, so that every byte that is read is counted.

    Attributes:
        requests: Calls by method: `stat`, `read`, `read_ranges`, `map`, `open`, `list`, `children`, `create`,
            `writer`, `delete`.
        ranges: How many ranges were read by `read_ranges`.
        bytes_read: By location.
        bytes_written: By location.
    """

    def __init__(self, inner: Store, *, maps: bool = True) -> None:
        """Start at zero."""
        super().__init__(inner)
        self._maps = maps
        self._lock = Lock()
        self.requests: Counter[str] = Counter()
        self.ranges = 0
        self.bytes_read: Counter[str] = Counter()
        self.bytes_written: Counter[str] = Counter()

    def stat(self, location: str) -> ObjectInfo | None:
        """Counted."""
        self._count("stat")
        return self.inner.stat(location)

    def read(self, location: str, *, limit: int) -> bytes:
        """Counted, with its bytes."""
        data = self.inner.read(location, limit=limit)
        self._count("read")
        self._count_read(location, len(data))
        return data

    def read_ranges(self, location: str, requests: Sequence[RangeRead]) -> None:
        """Counted, with its ranges and bytes."""
        self._count("read_ranges")
        self.inner.read_ranges(location, requests)
        with self._lock:
            self.ranges += len(requests)
            self.bytes_read[location] += sum(len(request.buffer) for request in requests)

    def map(self, location: str) -> memoryview | None:
        """Counted, or None."""
        if not self._maps:
            check_location(location, where=self.uri)
            return None
        self._count("map")
        return self.inner.map(location)

    def open(self, location: str) -> BinaryIO:
        """Counted, with its bytes as they are read."""
        self._count("open")
        file = self.inner.open(location)
        return cast(BinaryIO, _CountingFile(file, partial(self._count_read, location)))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Counted."""
        self._count("list")
        return self.inner.list(prefix)

    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Counted."""
        self._count("children")
        return self.inner.children(prefix)

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """Counted, with its bytes."""
        self._count("create")
        info = self.inner.create(location, data)
        self._count_written(location, info.size)
        return info

    def writer(self, location: str) -> Writer:
        """Counted, with its bytes as they are written."""
        self._count("writer")
        return _CountingWriter(self.inner.writer(location), self, location)

    def delete(self, location: str) -> None:
        """Counted."""
        self._count("delete")
        self.inner.delete(location)

    def _count(self, method: str) -> None:
        with self._lock:
            self.requests[method] += 1

    def _count_read(self, location: str, num_bytes: int) -> None:
        with self._lock:
            self.bytes_read[location] += num_bytes

    def _count_written(self, location: str, num_bytes: int) -> None:
        with self._lock:
            self.bytes_written[location] += num_bytes


class _CountingFile(io.RawIOBase):
    """A file whose bytes are counted as they are read."""

    def __init__(self, inner: BinaryIO, count: Callable[[int], None]) -> None:
        self._inner, self._count = inner, count

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        data = self._inner.read(-1 if size is None else size)
        self._count(len(data))
        return data

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer).cast("B") as view:
            data = self.read(len(view))
            view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()


class _CountingWriter(WrapperWriter):
    def __init__(self, inner: Writer, store: CountingStore, location: str) -> None:
        super().__init__(inner)
        self._store = store
        self._location = location

    def write(self, data: Buffer) -> None:
        self.inner.write(data)
        with memoryview(data) as view:
            self._store._count_written(self._location, view.nbytes)


class ReadOnlyStore(WrapperStore):
    """Refuses whatever would change the inner store."""

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """Refused."""
        raise self._refused(location)

    def writer(self, location: str) -> Writer:
        """Refused."""
        raise self._refused(location)

    def delete(self, location: str) -> None:
        """Refused."""
        raise self._refused(location)

    def drop_upload(self, info: ObjectInfo) -> None:
        """Refused."""
        raise self._refused(info.location)

    def _refused(self, location: str) -> RefusedError:
        hint = "this operation only reads; write to another destination"
        where = f"{self.uri}/{location}"
        return RefusedError(ErrorKind.READ_ONLY, "was opened for reading only", where=where, hint=hint)

"""The storage seam: one root, its objects by relative location, and the few methods to move bytes.

A location is a normalised relative path with `/` between its parts (`batched/5f3c`, `.snapshot_metadata`).
Every adapter passes `embsnap.testing.store_contract`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self

from embsnap.errors import ErrorKind, SnapshotError

__all__ = ["Buffer", "ObjectInfo", "RangeRead", "Store", "Writer", "check_location"]

Buffer = bytes | bytearray | memoryview
"""Contiguous bytes."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object."""

    location: str
    size: int
    """In bytes."""
    generation: str
    """Changes whenever the object is replaced."""
    modified: float | None = field(default=None, compare=False)
    """When it was written, in seconds since 1970 by the storage's clock; None where the storage does not tell."""
    crc32c: int | None = field(default=None, compare=False)
    """CRC-32C of its bytes as the server computed it; None where there is none."""


@dataclass(frozen=True, slots=True)
class RangeRead:
    """A request to fill a buffer with the bytes `[start, start + len(buffer))` of one object."""

    start: int
    buffer: memoryview
    """Writable, contiguous, of format `B`."""
    arrived: Callable[[int, memoryview], None] | None = None
    """Called with the offset of the first and a view of bytes that stand in the buffer by now: with each byte, in
    pieces, and again if the store asks for it again; from any thread."""

    def within(self, start: int, end: int) -> RangeRead:
        """What it asks for of the bytes `[start, end)`: maybe none."""
        first = max(start, self.start)
        return RangeRead(first, self.buffer[first - self.start : max(first, end) - self.start], self.arrived)

    def note_arrival(self, start: int, end: int) -> None:
        """The bytes `[start, end)` of the object, which are some of those asked for, stand in the buffer."""
        if self.arrived is not None and start < end:
            self.arrived(start, self.buffer[start - self.start : end - self.start])


_NO_NAMES = frozenset(("", ".", ".."))
_UNENCODABLE = re.compile("[\0\ud800-\udfff]")


class Writer(ABC):
    """One object being written, in order. Nothing is visible under its location before `close`.

    As a context manager it closes at the end of the block, and aborts if the block or the closing fails.
    """

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Append `data`. The buffer may be reused as soon as this returns."""

    @abstractmethod
    def close(self) -> ObjectInfo:
        """Make the object durable and visible.

        Raises:
            RefusedError: The location is taken.
            StorageError: The disk is full, or the storage failed.
        """

    @abstractmethod
    def abort(self) -> None:
        """Drop what was written; the location stays free. Does nothing after `close` or another `abort`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.close()
        except BaseException:
            self.abort()
            raise


class Store(ABC):
    """The objects under one root URI. Instances are safe to share between threads."""

    uri: str
    """The root, without a trailing slash."""

    @abstractmethod
    def stat(self, location: str) -> ObjectInfo | None:
        """Size and generation of an object, or None if there is none (a directory is none)."""

    def hold(self, info: ObjectInfo) -> None:  # noqa: B027
        """From now on, what is read of an object has to be what `stat` said of it; only remote stores can tell.

        Raises:
            StorageError: `object-replaced`: another generation of it was read before.
        """

    @abstractmethod
    def read(self, location: str, *, limit: int) -> bytes:
        """A small object whole.

        Raises:
            NotFoundError: There is none.
            StorageError: It is larger than `limit` bytes (`object-too-large`), or the storage failed.
        """

    @abstractmethod
    def read_ranges(self, location: str, requests: Sequence[RangeRead]) -> None:
        """Fill every buffer; the requests may come in any order.

        Raises:
            NotFoundError: There is no such object.
            StorageError: The object is shorter than asked (`short-read`), or the storage failed.
        """

    def map(self, location: str) -> memoryview | None:
        """The object's bytes mapped read-only into memory, or None where the storage cannot."""
        return None

    @abstractmethod
    def open(self, location: str) -> BinaryIO:
        """A seekable file for reading one object, for readers that want a file."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose location starts with `prefix`, at any depth, sorted; never from a cache."""

    def unfinished(self) -> Iterator[ObjectInfo]:
        """What writers hold that have not closed yet, or died; `list` shows none of it, `delete` removes it."""
        return iter(())

    def uploads(self) -> Iterator[ObjectInfo]:
        """Objects of which parts were uploaded that nobody put together, whoever it was; `list` shows none of them.

        The generation is that of the upload, the size what has arrived, the time that of the newest part. Only stores
        that keep such parts for good have any.
        """
        return iter(())

    def drop_upload(self, info: ObjectInfo) -> None:  # noqa: B027
        """Forget the parts of an upload that `uploads` listed; nothing happens if there are none any more."""

    @abstractmethod
    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Names directly under the directory `prefix`, sorted; directories end in `/`. Empty if there is none.

        A file system also shows directories without any object, an object store has none.
        """

    @abstractmethod
    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """Write a small object in one go: all of it, durable, or nothing; only if there is none yet.

        Raises:
            RefusedError: The location is taken (of two racing writers exactly one gets this).
            StorageError: The disk is full, or the storage failed.
        """

    @abstractmethod
    def writer(self, location: str) -> Writer:
        """Start writing an object of any size, in order."""

    @abstractmethod
    def delete(self, location: str) -> None:
        """Remove an object; nothing happens if there is none."""


def check_location(location: str, *, where: str) -> str:
    """Return `location` if it is a normalised relative path that stays under its root.

    Args:
        location: As an untrusted manifest gives it.
        where: What names it, for the message.

    Raises:
        SnapshotError: `unsafe-location`: absolute, empty, with `.`, `..` or empty parts, a NUL or a lone surrogate.
    """
    if not _NO_NAMES.isdisjoint(location.split("/")) or _UNENCODABLE.search(location):
        raise SnapshotError(
            ErrorKind.UNSAFE_LOCATION,
            "names an object outside of the snapshot, or one that no writer makes",
            where=where,
            expected="a normalised relative path",
            found=repr(location),
            hint="do not trust this snapshot; ask whoever made it",
        )
    return location

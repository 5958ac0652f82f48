"""A temporary file of regions of rows: each is written bit by bit, and read as a whole, past the page cache.

Through the cache every byte would be copied once more, and where memory is bounded the cache would be emptied as fast
as it fills. A file system that cannot do without is written and read through it.

Shape suffixes: P regions, N rows in hand.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import F_GETFL, F_SETFL, fcntl
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, StorageError

__all__ = ["SpillFile"]

_ALIGNMENT = 4096
_MOST_WRITE_BYTES = 4 << 20
"""Longer writes are no faster."""
_DIRECT = getattr(os, "O_DIRECT", 0)


@dataclass(slots=True, eq=False)
class _Region:
    """Being written."""

    start: int
    """Its first byte in the file."""
    buffer: NDArray[np.uint8]
    room: int
    """Bytes that are written together next."""
    num_rows: int = 0
    num_written: int = 0
    num_held: int = 0
    """Bytes in the buffer."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Waiting(NamedTuple):
    """What a region has to write."""

    buffer: NDArray[np.uint8]
    num_bytes: int
    start: int
    """In the file."""


@dataclass(slots=True, eq=False)
class _Loaded:
    """A region in memory."""

    buffer: NDArray[np.uint8]
    num_users: int = 0
    is_here: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class SpillFile:
    """First all rows are appended to their regions, then regions are read. Any thread may."""

    def __init__(
        self, fd: int, num_rows_P: Sequence[int], row_bytes: int, *, write_bytes: int, most_loaded: int
    ) -> None:
        """Make room for `num_rows_P[p]` rows of `row_bytes` in region p.

        Args:
            fd: An empty file, open for reading and writing, which is somebody else's to close.
            num_rows_P: More rows are never appended.
            row_bytes: Of each row.
            write_bytes: Memory for what all regions together have waiting to be written.
            most_loaded: At least 1: how many regions may be in memory, unless more are looked at; and how many writes
                may be under way.

        Raises:
            StorageError: `disk-full`: the directory for temporary files has no room.
        """
        self._fd, self._row_bytes, self._most_loaded = fd, row_bytes, most_loaded
        self._num_rows_P = list(num_rows_P)
        starts = np.cumsum([0, *(_aligned(num_rows * row_bytes) for num_rows in num_rows_P)]).tolist()
        self._starts_P, self._num_bytes = starts[:-1], starts[-1]
        self._region_bytes = max((_aligned(num_rows * row_bytes) for num_rows in num_rows_P), default=0)
        _make_room(fd, self._num_bytes)
        self._is_direct = _go_direct(fd)
        chunk = max(_ALIGNMENT, write_bytes // max(1, len(num_rows_P)) // _ALIGNMENT * _ALIGNMENT)
        self._chunk = min(chunk, _MOST_WRITE_BYTES, max(_ALIGNMENT, self._region_bytes))
        buffers = _memory(self._chunk * (len(num_rows_P) + most_loaded)).reshape(-1, self._chunk)
        self._spare: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()
        for buffer in buffers[len(num_rows_P) :]:
            self._spare.put(buffer)
        self._regions = [
            # not all of them are to be full at once
            _Region(start, buffer, max(_ALIGNMENT, self._chunk * number // len(num_rows_P) // _ALIGNMENT * _ALIGNMENT))
            for number, (start, buffer) in enumerate(zip(self._starts_P, buffers, strict=False))
        ]
        self._loaded: OrderedDict[int, _Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._mapped: NDArray[np.uint8] | None = None

    def append(self, number: int, rows: NDArray[np.uint8]) -> int:
        """Put rows, C-contiguous `uint8[N, row_bytes]`, behind those of a region; the place of the first among them."""
        region, data, done = self._regions[number], rows.reshape(-1), 0
        full: _Waiting | None = None
        with region.lock:
            first = region.num_rows
            region.num_rows += len(rows)
            while done < len(data):
                num_bytes = min(len(data) - done, region.room - region.num_held)
                region.buffer[region.num_held : region.num_held + num_bytes] = data[done : done + num_bytes]
                region.num_held, done = region.num_held + num_bytes, done + num_bytes
                if region.num_held == region.room:
                    self._write(full)
                    full = self._emptied(region)
        self._write(full)  # others may append meanwhile
        return first

    def _emptied(self, region: _Region) -> _Waiting:
        waiting = _Waiting(region.buffer, region.num_held, region.start + region.num_written)
        region.num_written, region.num_held, region.room = region.num_written + region.num_held, 0, self._chunk
        region.buffer = self._spare.get()
        return waiting

    def _write(self, waiting: _Waiting | None) -> None:
        if waiting is not None:
            buffer, num_bytes, start = waiting
            size = _aligned(num_bytes)
            try:
                self._all(size, lambda done: os.pwrite(self._fd, buffer[done:size].data, start + done))
            finally:
                self._spare.put(buffer)

    def finish(self) -> None:
        """Write what is waiting; from now on regions are read."""
        for region in self._regions:
            self._write(self._emptied(region))
        self._regions, self._spare = [], SimpleQueue()
        self._mapped = np.frombuffer(mmap.mmap(self._fd, max(1, self._num_bytes), access=mmap.ACCESS_READ), np.uint8)

    @contextmanager
    def loaded(self, number: int) -> Iterator[NDArray[np.uint8]]:
        """A region in memory, `uint8[R, row_bytes]`, as long as the `with` block lasts."""
        with self._lock:
            region = self._loaded.get(number) or self._taken(number)
            self._loaded.move_to_end(number)
            region.num_users += 1
        try:
            with region.lock:
                if not region.is_here:
                    self._load(number, region)
            yield self._rows(number, region.buffer)
        finally:
            with self._lock:
                region.num_users -= 1

    def mapped(self, number: int) -> NDArray[np.uint8]:
        """A region where it lies in the file, for a few of its rows."""
        assert self._mapped is not None, "nothing is mapped before all is written"
        return self._rows(number, self._mapped[self._starts_P[number] :])

    def _rows(self, number: int, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        num_rows = self._num_rows_P[number]
        return data[: num_rows * self._row_bytes].reshape(num_rows, self._row_bytes)

    def _taken(self, number: int) -> _Loaded:
        """Memory for a region: that of the one that was looked at longest ago, if there are enough."""
        idle = next((held for held, region in self._loaded.items() if not region.num_users), None)
        if idle is not None and len(self._loaded) >= self._most_loaded:
            region = self._loaded.pop(idle)
            region.is_here = False
        else:
            region = _Loaded(_memory(self._region_bytes))
        self._loaded[number] = region
        return region

    def _load(self, number: int, region: _Loaded) -> None:
        start, size = self._starts_P[number], _aligned(self._num_rows_P[number] * self._row_bytes)
        self._all(size, lambda done: os.preadv(self._fd, [region.buffer[done:size].data], start + done))
        region.is_here = True

    def _all(self, size: int, call: Callable[[int], int]) -> None:
        """Call until `size` bytes are done, through the cache once the file system refuses to go past it."""
        done = 0
        while done < size:
            try:
                done += call(done)
            except OSError as error:
                if not self._is_direct or error.errno != errno.EINVAL:
                    raise _no_room(error.strerror or str(error), self._num_bytes) from error
                self._is_direct = False
                fcntl(self._fd, F_SETFL, fcntl(self._fd, F_GETFL) & ~_DIRECT)


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


def _memory(num_bytes: int) -> NDArray[np.uint8]:
    """Aligned as direct reading and writing want it."""
    return np.frombuffer(mmap.mmap(-1, max(1, num_bytes)), np.uint8)[:num_bytes]


def _go_direct(fd: int) -> bool:
    try:
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | _DIRECT)
    except OSError:  # the file system has no such thing
        return False
    return bool(_DIRECT)


def _make_room(fd: int, num_bytes: int) -> None:
    status = os.fstatvfs(fd)
    free = status.f_bavail * status.f_frsize
    if free < num_bytes:
        raise _no_room(f"{free} bytes", num_bytes)
    try:
        os.posix_fallocate(fd, 0, max(1, num_bytes))  # writes to blocks that are there are twice as fast
    except OSError as error:
        raise _no_room(error.strerror or str(error), num_bytes) from error


def _no_room(found: str, num_bytes: int) -> StorageError:
    return StorageError(
        ErrorKind.DISK_FULL,
        "a table that is larger than memory has no room to be reordered",
        where=tempfile.gettempdir(),
        expected=f"{num_bytes} bytes free",
        found=found,
        hint="set TMPDIR to a directory with more room, or raise --memory-budget",
    )

"""Reading whole objects block by block, in bounded memory: while one block is used the next one is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from types import TracebackType
from typing import Self

from embsnap.storage.base import RangeRead, Store

__all__ = ["BlockReader", "Room", "StoppedError"]

_NEAR_BYTES = 256 << 10
_PART_BYTES = 8 << 20
_TARGET_BYTES = 64 << 20
_MOST_AT_ONCE = 16


class StoppedError(Exception):
    """Another object failed, or the process is to end."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much is under way at a time."""

    num_objects: int
    block_bytes: int
    """Of each of the two buffers of an object."""

    @classmethod
    def of(cls, sizes: Sequence[int], threads: int, *, is_near: bool) -> Room:
        """For objects of these sizes: four at a time for each thread, 16 at most, because most of the time they wait.

        Remote stores read a block in parts of 8 MiB at the same time, so that a few objects get larger blocks. What is
        near (in files or in memory) is summed and written fastest while it is in a core's cache.
        """
        num_objects = max(1, min(_MOST_AT_ONCE, 4 * threads, len(sizes)))
        most = _NEAR_BYTES if is_near else max(_PART_BYTES, _TARGET_BYTES // num_objects)
        return cls(num_objects, max(1, min(most, max(sizes, default=1))))

    @property
    def num_bytes(self) -> int:
        """Of all buffers."""
        return 2 * self.num_objects * self.block_bytes


class BlockReader:
    """Hands out the blocks of objects to at most `room.num_objects` callers at a time, each in a thread of its own."""

    def __init__(self, room: Room) -> None:
        """Make the buffers."""
        self._block_bytes = room.block_bytes
        self._stopped = Event()
        self._pool = ThreadPoolExecutor(room.num_objects, thread_name_prefix="embsnap-read")
        self._buffers: SimpleQueue[tuple[memoryview, memoryview]] = SimpleQueue()
        for _ in range(room.num_objects):
            self._buffers.put((memoryview(bytearray(room.block_bytes)), memoryview(bytearray(room.block_bytes))))

    def stop(self) -> None:
        """Have every caller meet a `StoppedError` at its next block."""
        self._stopped.set()

    def check_stopped(self) -> None:
        """Raise `StoppedError` once `stop` was called."""
        if self._stopped.is_set():
            raise StoppedError

    def feed(self, store: Store, location: str, size: int, consume: Callable[[memoryview], None]) -> None:
        """Call `consume` with the bytes `[0, size)` of an object, block by block; a block is valid during the call.

        Raises:
            StoppedError: `stop` was called.
            StorageError: The object is shorter, or the storage failed.
        """
        buffers = self._buffers.get()
        ahead: Future[memoryview] | None = None
        try:
            for index, start in enumerate(range(0, size, self._block_bytes)):
                block = (ahead or self._read(store, location, start, size, buffers[index % 2])).result()
                after = start + len(block)
                ahead = self._read(store, location, after, size, buffers[1 - index % 2]) if after < size else None
                self.check_stopped()
                consume(block)
        finally:
            if ahead is not None:
                wait([ahead])
            self._buffers.put(buffers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, store: Store, location: str, start: int, size: int, buffer: memoryview) -> Future[memoryview]:
        return self._pool.submit(_fill, store, location, start, buffer[: min(self._block_bytes, size - start)])


def _fill(store: Store, location: str, start: int, buffer: memoryview) -> memoryview:
    store.read_ranges(location, [RangeRead(start, buffer)])
    return buffer

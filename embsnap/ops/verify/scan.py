"""One pass over the bytes of a snapshot's objects: every chunk is read once, whoever looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from embsnap.errors import ErrorKind, StorageError
from embsnap.kernels.threads import run
from embsnap.model.progress import Progress
from embsnap.storage.base import RangeRead, Store

__all__ = ["CHUNK_BYTES", "Chunk", "ObjectToScan", "scan"]

CHUNK_BYTES = 4 << 20
"""What is looked at in one go, unless the sidecar's blocks are of another size."""
_TAIL_BYTES = 15
"""An element that begins in a chunk may end in the next one; the widest has 16 bytes."""
_REQUEST_BYTES = 32 << 20
"""Of an object that cannot be mapped, so much is asked for at a time."""
_TASK = "verifying"


@dataclass(frozen=True, slots=True)
class ObjectToScan:
    """One object and the chunks of it that are to be looked at."""

    location: str
    size: int
    chunk_bytes: int
    chunks: Sequence[int]
    """Numbers of chunks, ascending; chunk c has the bytes `[c * chunk_bytes, min(size, (c + 1) * chunk_bytes))`."""

    def span(self, chunk: int) -> tuple[int, int]:
        """The bytes of a chunk."""
        return chunk * self.chunk_bytes, min(self.size, (chunk + 1) * self.chunk_bytes)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk in hand."""

    object: ObjectToScan
    number: int
    start: int
    """First byte of it in its object."""
    data: memoryview
    """Its bytes."""
    extended: memoryview
    """The same, and up to 15 bytes beyond."""


Look = Callable[[Chunk], None]


def scan(store: Store, objects: Sequence[ObjectToScan], look: Look, *, threads: int, progress: Progress) -> int:
    """Call `look` with every chunk, from several threads.

    Memory: what cannot be mapped is read into buffers, one of 32 MiB or of one chunk for each thread.

    Returns:
        Bytes of the chunks.

    Raises:
        NotFoundError, StorageError: The storage failed, or an object is gone.
    """
    total = sum(end - start for each in objects for start, end in map(each.span, each.chunks))
    progress.start(_TASK, total)
    tasks = [
        partial(_look_at, store, each, chunks, look, progress) for each in objects for chunks in _runs_of_chunks(each)
    ]
    run(tasks, threads)
    progress.finish(_TASK)
    return total


def _runs_of_chunks(each: ObjectToScan) -> Iterator[Sequence[int]]:
    """Neighbouring chunks, of as many bytes as are asked for at a time."""
    most = max(1, _REQUEST_BYTES // each.chunk_bytes)
    begin = 0
    for index in range(1, len(each.chunks) + 1):
        ended = index == len(each.chunks) or each.chunks[index] != each.chunks[index - 1] + 1
        if ended or index - begin == most:
            yield each.chunks[begin:index]
            begin = index


def _look_at(store: Store, each: ObjectToScan, chunks: Sequence[int], look: Look, progress: Progress) -> None:
    first, last = each.span(chunks[0])[0], each.span(chunks[-1])[1]
    held = _bytes_of(store, each, first, min(each.size, last + _TAIL_BYTES))
    for number in chunks:
        start, end = each.span(number)
        extended = held[start - first : min(each.size, end + _TAIL_BYTES) - first]
        look(Chunk(each, number, start, extended[: end - start], extended))
        progress.advance(_TASK, end - start)


def _bytes_of(store: Store, each: ObjectToScan, start: int, end: int) -> memoryview:
    mapped = store.map(each.location)
    if mapped is None:
        buffer = np.empty(end - start, np.uint8).data
        store.read_ranges(each.location, [RangeRead(start, buffer)])
        return buffer
    if len(mapped) < end:
        where = f"{store.uri}/{each.location}"
        problem, found = "became shorter while it was read", f"{len(mapped)} bytes"
        raise StorageError(ErrorKind.SHORT_READ, problem, where=where, expected=f"{each.size} bytes", found=found)
    return mapped[start:end]

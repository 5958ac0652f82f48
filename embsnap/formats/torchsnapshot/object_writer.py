"""Writing the objects of a snapshot: several at a time, each in order, block by block.

Shape suffixes: N rows in hand, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from mmap import mmap
from queue import SimpleQueue
from threading import Event

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.checksums import RunningSums
from embsnap.formats.sidecar import ObjectSums
from embsnap.formats.torchsnapshot.contents import ArrayToWrite
from embsnap.formats.torchsnapshot.layout import ObjectLayout, PlacedPiece
from embsnap.model.progress import Progress
from embsnap.storage.base import Store, Writer

__all__ = ["write_objects"]

_TASK = "writing"


Finished = Callable[[str, ObjectSums], None]
"""Takes the location and the sums of an object that is durable."""


def _ignore(location: str, sums: ObjectSums) -> None:
    """Nobody asks."""


class _StoppedError(Exception):
    """Another object failed, or the process is to end."""


def write_objects(
    store: Store,
    arrays: Sequence[ArrayToWrite],
    objects: Sequence[tuple[str, ObjectLayout]],
    *,
    threads: int,
    block_bytes: int,
    progress: Progress,
    finished: Finished = _ignore,
) -> dict[str, ObjectSums]:
    """Write every object and return its sums by location, in the order of `objects`.

    Twice as many objects as threads are under way, since one that is being made durable needs none. Memory: a buffer of
    `block_bytes` for each, or of one row where that is more.

    Args:
        store: Destination.
        arrays: Sources of the pieces.
        objects: Location and layout of each.
        threads: How many keep busy.
        block_bytes: How much is read, summed and written at a time.
        progress: Told of every block.
        finished: Called with the location and sums of each object once it is durable, from any thread.

    Raises:
        BaseException: The first error of any object, or what interrupted the calling thread; either way no thread
            writes any more when it is raised, and the objects that are already there are the caller's to delete.
    """
    threads = max(1, min(2 * threads, len(objects)))
    job = _Job(store, arrays, progress, finished)
    most_bytes = max([block_bytes, *(array.rows.row_bytes for array in arrays)])
    for _ in range(threads):
        job.buffers.put(np.frombuffer(mmap(-1, most_bytes), np.uint8))  # aligned as direct writing wants it
    progress.start(_TASK, sum(piece.end - piece.start for _, layout in objects for piece in layout.pieces))
    with ThreadPoolExecutor(threads, thread_name_prefix="embsnap-write") as pool:
        try:
            futures = [pool.submit(job.run, location, layout) for location, layout in objects]
            wait(futures)
        except BaseException:
            job.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if job.failures:
        raise job.failures[0]
    progress.finish(_TASK)
    return {location: job.sums[location] for location, _ in objects}


@dataclass(frozen=True, slots=True)
class _Job:
    """What the threads share."""

    store: Store
    arrays: Sequence[ArrayToWrite]
    progress: Progress
    finished: Finished
    stopped: Event = field(default_factory=Event)
    buffers: SimpleQueue[NDArray[np.uint8]] = field(default_factory=SimpleQueue)
    sums: dict[str, ObjectSums] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    """In the order of time."""

    def run(self, location: str, layout: ObjectLayout) -> None:
        """Write one object; the first failure stops all."""
        try:
            sums = self._write(location, layout)
            self.finished(location, sums)
            self.sums[location] = sums
        except _StoppedError:
            pass
        except BaseException as error:
            self.failures.append(error)
            self.stopped.set()

    def _write(self, location: str, layout: ObjectLayout) -> ObjectSums:
        self._check_stopped()
        buffer = self.buffers.get()
        try:
            with self.store.writer(location) as writer:
                target = _Target(writer, RunningSums())
                for piece in layout.pieces:
                    target.pad_to(piece.start)
                    self._write_piece(piece, target, buffer)
            return target.sums.finish()
        finally:
            self.buffers.put(buffer)

    def _write_piece(self, piece: PlacedPiece, target: _Target, buffer: NDArray[np.uint8]) -> None:
        source, row_bytes = self.arrays[piece.array].source, self.arrays[piece.array].rows.row_bytes
        most_rows = len(buffer) // max(1, row_bytes)
        for start in range(piece.start_row, piece.end_row, most_rows):
            self._check_stopped()
            num_rows = min(most_rows, piece.end_row - start)
            block = buffer[: num_rows * row_bytes]
            rows_ND = block.view(source.dtype).reshape(num_rows, source.dim)
            source.read(start, start + num_rows, rows_ND)
            target.append(block.data)
            self.progress.advance(_TASK, len(block))

    def _check_stopped(self) -> None:
        if self.stopped.is_set():
            raise _StoppedError


@dataclass(slots=True)
class _Target:
    """An object being written, with the sums of what is in it."""

    writer: Writer
    sums: RunningSums
    num_bytes: int = 0

    def append(self, data: memoryview) -> None:
        self.sums.update(data)
        self.writer.write(data)
        self.num_bytes += len(data)

    def pad_to(self, start: int) -> None:
        if self.num_bytes < start:
            self.append(memoryview(bytes(start - self.num_bytes)))

"""Tables whose rows move far, larger than memory or remote: brought near before they are read at random.

A permuted table that does not fit in memory would be read page by page, each page many times. Instead it is streamed
once, in order, into a temporary file whose regions hold what one part of the new table needs, and each region fits in
memory. So every byte is read twice and written twice, in long runs.

Shape suffixes: V rows of the new table, S rows of the stored one, N rows in hand, P parts.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, StorageError
from embsnap.kernels.gather import gather_rows
from embsnap.kernels.threads import run
from embsnap.model.progress import Progress
from embsnap.ops.migrate.fetching import FetchedRows
from embsnap.ops.migrate.nodes import RowNode, StoredRows

__all__ = ["is_scattered", "spilled"]

_PART_BYTES = 64 << 20
_BLOCK_BYTES = 16 << 20
_SHARE = 8
"""Parts and blocks are an eighth of the budget: so many are in memory at once, of all threads together."""
_TRACE_ROWS = 1 << 20
_NEAR_ROWS = 64
_FEW_FAR = 1000
"""Each jump to a row far away may cost a request."""
_BUDGETS = 4
"""The budget is a quarter of what is available: what is larger than all of that will not stay in the page cache."""


@contextmanager
def spilled(
    nodes: Sequence[tuple[RowNode, int]], memory_budget: int, threads: int, progress: Progress
) -> Iterator[None]:
    """For the time of a `with` block, stored rows that cannot be read at random where they are lie in temporary files.

    These are tables that are too large for it, and tables in remote storage.

    Args:
        nodes: What is about to be read, block by block, and how many times.
        memory_budget: Bytes of row data; tables of more than four times as much are looked at.
        threads: How many keep busy.
        progress: Told of what is streamed.

    Raises:
        StorageError: `disk-full`: the directory for temporary files has no room.
    """
    with ExitStack() as stack:
        for node, _ in nodes:
            for leaf in dict.fromkeys(leaf for leaf, _ in node.leaves(np.empty(0, np.int64))):
                if leaf.near is not None:
                    continue
                if leaf.num_rows * leaf.row_bytes > _BUDGETS * memory_budget and is_scattered(node, leaf):
                    share = max(1, memory_budget // _SHARE)
                    file = stack.enter_context(tempfile.TemporaryFile(prefix="embsnap-spill-"))
                    sizes = (min(_PART_BYTES, share), min(_BLOCK_BYTES, share * 2 // max(2, threads)))
                    leaf.near = _spill(node, leaf, file.fileno(), *sizes, threads, progress)
                    stack.callback(_forget, leaf)
                elif not leaf.reader.is_mapped and _num_far(node, leaf) > _FEW_FAR:
                    fetched = _fetched(nodes, leaf, progress)
                    leaf.near = fetched
                    stack.callback(_forget, leaf)
                    stack.callback(fetched.close)
        yield


def _forget(leaf: StoredRows) -> None:
    leaf.near = None


def _fetched(nodes: Sequence[tuple[RowNode, int]], leaf: StoredRows, progress: Progress) -> FetchedRows:
    """Stored rows for whoever reads them, fetched when the first is read and let go after the last."""
    wanted: list[NDArray[np.int64]] = []
    num_rows = 0
    for node, times in nodes:
        asked = [rows_N for _, rows_N in _asked(node, leaf)]
        num_rows += times * sum(int(np.count_nonzero(rows_N >= 0)) for rows_N in asked)
        wanted += asked
    return FetchedRows(leaf.reader, wanted, num_rows, progress)


def _asked(node: RowNode, leaf: StoredRows) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """New row and `int64[N]` stored rows of it and the following, by blocks of new rows."""
    for start in range(0, node.num_rows, _TRACE_ROWS):
        rows_N = np.arange(start, min(start + _TRACE_ROWS, node.num_rows))
        yield from ((start, found_N) for found, found_N in node.leaves(rows_N) if found is leaf)


def is_scattered(node: RowNode, leaf: StoredRows) -> bool:
    """Whether more than an eighth of the rows lie far from where the row before them was."""
    return _num_far(node, leaf) > node.num_rows // 8


def _num_far(node: RowNode, leaf: StoredRows) -> int:
    """How many rows lie far from where the row before them was."""
    num_far = 0
    for _, rows_N in _asked(node, leaf):
        wanted_N = rows_N[rows_N >= 0]
        num_far += int((np.abs(np.diff(wanted_N)) > _NEAR_ROWS).sum())
    return num_far


class _NearRows:
    """Stored rows in a file, part by part as they are asked for together."""

    def __init__(
        self, fd: int, mapped: mmap.mmap, row_bytes: int, place_S: NDArray[np.int64], starts_P: NDArray[np.int64]
    ) -> None:
        """Part p of the new table finds its rows from row `starts_P[p]` of the file on."""
        self._fd, self._mapped, self._place_S, self._starts_P = fd, mapped, place_S, starts_P
        self._rows = np.frombuffer(mapped, np.uint8).reshape(-1, row_bytes)
        self._fetched: set[int] = set()
        self._lock = threading.Lock()

    def gather(self, rows_N: NDArray[np.int64], out_ND: NDArray[np.generic]) -> None:
        """Fill row i of `out_ND` with row `rows_N[i]`, unless that is negative."""
        positions_M = np.flatnonzero(rows_N >= 0)
        if len(positions_M):
            places_M = self._place_S[rows_N[positions_M]]
            self._follow(int(places_M[len(places_M) // 2]))
            out = out_ND.view(np.uint8).reshape(len(rows_N), self._rows.shape[1])
            gather_rows(self._rows, places_M, positions_M, out)

    def _follow(self, place: int) -> None:
        """Fetch the part of a place and the one after it as a whole, and let go of what lies before: hints."""
        if not hasattr(os, "posix_fadvise"):
            return
        part = int(np.searchsorted(self._starts_P, place, side="right")) - 1
        with self._lock:
            wanted = {part, part + 1} - self._fetched
            left = {part - 2} & self._fetched
            self._fetched = (self._fetched | wanted) - left
        for start, num_bytes in map(self._region, wanted):
            os.posix_fadvise(self._fd, start, num_bytes, os.POSIX_FADV_WILLNEED)
        for start, num_bytes in map(self._region, left):
            self._mapped.madvise(mmap.MADV_DONTNEED, start, num_bytes)
            os.posix_fadvise(self._fd, start, num_bytes, os.POSIX_FADV_DONTNEED)

    def _region(self, part: int) -> tuple[int, int]:
        """Where the bytes of a part begin in the file, at a page, and how many there are, at least one."""
        rows = self._starts_P[part : part + 2].tolist()
        start, end = (row * self._rows.shape[1] for row in (rows[0], rows[-1]))
        start = start // mmap.PAGESIZE * mmap.PAGESIZE
        return start, max(1, end - start)


def _spill(
    node: RowNode, leaf: StoredRows, fd: int, part_bytes: int, block_bytes: int, threads: int, progress: Progress
) -> _NearRows:
    part_rows = max(1, part_bytes // leaf.row_bytes)
    part_S = np.full(leaf.num_rows, -1, np.int64)
    for start, rows_N in _asked(node, leaf):
        wanted = np.flatnonzero((rows_N >= 0) & (part_S[np.maximum(rows_N, 0)] < 0))
        part_S[rows_N[wanted]] = (start + wanted) // part_rows
    num_parts = -(-node.num_rows // part_rows)
    starts_P = np.concatenate([[0], np.cumsum(np.bincount(part_S[part_S >= 0], minlength=num_parts))])
    num_bytes = int(starts_P[-1]) * leaf.row_bytes
    _make_room(fd, num_bytes)
    task = f"bringing {leaf.reader.array.path} near"
    progress.start(task, leaf.num_rows * leaf.row_bytes)
    sorting = _Sorting(leaf, fd, part_S, starts_P[:-1].copy(), partial(progress.advance, task))
    step = max(1, block_bytes // leaf.row_bytes)
    blocks = [(start, min(start + step, leaf.num_rows)) for start in range(0, leaf.num_rows, step)]
    run([partial(sorting.move, start, end) for start, end in blocks], threads)
    progress.finish(task)
    mapped = mmap.mmap(fd, max(1, num_bytes), access=mmap.ACCESS_READ)
    return _NearRows(fd, mapped, leaf.row_bytes, part_S, starts_P)


@dataclass(slots=True)
class _Sorting:
    """Moves blocks of stored rows to the parts that want them; several threads may."""

    leaf: StoredRows
    fd: int
    part_S: NDArray[np.int64]
    """The part of each row, or -1; where it lies in the file once it was moved."""
    cursor_P: NDArray[np.int64]
    """First free row of each part's region."""
    advance: Callable[[int], None]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def move(self, start: int, end: int) -> None:
        """The rows `[start, end)`."""
        rows_ND = np.empty((end - start, self.leaf.dim), self.leaf.dtype)
        self.leaf.reader.read(start, end, rows_ND, past_map=True)
        data = rows_ND.view(np.uint8).reshape(end - start, self.leaf.row_bytes)
        part_N = self.part_S[start:end]
        order = np.argsort(part_N, kind="stable")
        order = order[np.searchsorted(part_N[order], 0) :]
        sorted_M, grouped = part_N[order], np.empty((len(order), data.shape[1]), np.uint8)
        gather_rows(data, order, np.arange(len(order)), grouped)
        bounds = [0, *(np.flatnonzero(np.diff(sorted_M)) + 1).tolist(), len(order)] if len(order) else []
        for begin, stop in pairwise(bounds):
            first = self._claim(int(sorted_M[begin]), stop - begin)
            part_N[order[begin:stop]] = np.arange(first, first + stop - begin)
            _write(self.fd, grouped[begin:stop], first * self.leaf.row_bytes)
        self.advance(data.nbytes)

    def _claim(self, part: int, num_rows: int) -> int:
        with self.lock:
            first = int(self.cursor_P[part])
            self.cursor_P[part] += num_rows
        return first


def _write(fd: int, rows: NDArray[np.uint8], offset: int) -> None:
    view = rows.reshape(-1).data
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def _make_room(fd: int, num_bytes: int) -> None:
    status = os.fstatvfs(fd)
    free = status.f_bavail * status.f_frsize
    if free < num_bytes:
        raise StorageError(
            ErrorKind.DISK_FULL,
            "a table that is larger than memory has no room to be reordered",
            where=tempfile.gettempdir(),
            expected=f"{num_bytes} bytes free",
            found=f"{free} bytes",
            hint="set TMPDIR to a directory with more room, or raise --memory-budget",
        )
    os.ftruncate(fd, max(1, num_bytes))

"""Tables whose rows move far, larger than memory or remote: brought near before they are read at random.

A permuted table that does not fit in memory would be read page by page, each page many times. Instead it is streamed
once, in order, into a temporary file whose regions hold what one part of the new table needs; the region of a part is
read as a whole when its turn comes. So every byte is read twice and written twice, in long runs, past the page cache.

Shape suffixes: V rows of the new table, S rows of the stored one, N rows in hand, P parts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.gather import gather_rows
from embsnap.kernels.threads import run
from embsnap.model.progress import Progress
from embsnap.ops.migrate.fetching import FetchedRows
from embsnap.ops.migrate.nodes import RowNode, StoredRows
from embsnap.ops.migrate.spill_file import SpillFile

__all__ = ["is_scattered", "spilled"]

_PART_BYTES = 64 << 20
_BLOCK_BYTES = 8 << 20
_SHARE = 8
"""Parts are an eighth of the budget for two threads, and less for more: five of eight are in use at once. As much waits
to be written before, half of the budget: the more of it, the longer each write, and the faster the disk."""
_ROW_BITS = 32
_MAX_ROW = (1 << _ROW_BITS) - 1
_FEW = 8
"""A part with fewer than an eighth of the rows in hand is not read whole for them."""
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
            for leaf in _leaves(node):
                if leaf.near is not None:
                    continue
                if leaf.num_rows * leaf.row_bytes > _BUDGETS * memory_budget and is_scattered(node, leaf):
                    file = stack.enter_context(tempfile.TemporaryFile(prefix="embsnap-spill-"))
                    wanting = [node, *(other for other, _ in nodes if other is not node and leaf in _leaves(other))]
                    leaf.near = _spill(wanting, leaf, file.fileno(), memory_budget, threads, progress)
                    stack.callback(_forget, leaf)
                elif not leaf.reader.is_mapped and _num_far(node, leaf) > _FEW_FAR:
                    fetched = _fetched(nodes, leaf, progress)
                    leaf.near = fetched
                    stack.callback(_forget, leaf)
                    stack.callback(fetched.close)
        yield


def _leaves(node: RowNode) -> dict[StoredRows, None]:
    return dict.fromkeys(leaf for leaf, _ in node.leaves(np.empty(0, np.int64)))


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

    def __init__(self, file: SpillFile, place_S: NDArray[np.int64]) -> None:
        """Row s is row `place_S[s] & _MAX_ROW` of the file's region `place_S[s] >> _ROW_BITS`."""
        self._file, self._place_S = file, place_S

    def gather(self, rows_N: NDArray[np.int64], out_ND: NDArray[np.generic]) -> None:
        """Fill row i of `out_ND` with row `rows_N[i]`, unless that is negative."""
        positions_M = np.flatnonzero(rows_N >= 0)
        if not len(positions_M):
            return
        out = out_ND.view(np.uint8).reshape(len(rows_N), -1)
        places_M = self._place_S[rows_N[positions_M]]
        part_M = places_M >> _ROW_BITS
        counts_P = np.bincount(part_M)
        for part in np.flatnonzero(counts_P).tolist():
            here = part_M == part if counts_P[part] < len(part_M) else slice(None)
            is_worth_it = counts_P[part] * _FEW >= len(part_M)
            with self._file.loaded(part) if is_worth_it else nullcontext(self._file.mapped(part)) as rows:
                gather_rows(rows, places_M[here] & _MAX_ROW, positions_M[here], out)


def _spill(
    nodes: Sequence[RowNode], leaf: StoredRows, fd: int, memory_budget: int, threads: int, progress: Progress
) -> _NearRows:
    """A row lies in a part of the first node that wants it; the parts of the nodes follow each other."""
    share = max(1, memory_budget // max(_SHARE, 4 * threads))
    part_rows = max(1, min(_PART_BYTES, share, leaf.row_bytes << _ROW_BITS) // leaf.row_bytes)
    part_S = np.full(leaf.num_rows, -1, np.int64)
    num_parts = 0
    for node in nodes:
        for start, rows_N in _asked(node, leaf):
            wanted = np.flatnonzero((rows_N >= 0) & (part_S[np.maximum(rows_N, 0)] < 0))
            part_S[rows_N[wanted]] = num_parts + (start + wanted) // part_rows
        num_parts += -(-node.num_rows // part_rows)
    num_rows_P = np.bincount(part_S[part_S >= 0], minlength=num_parts).tolist()
    file = SpillFile(fd, num_rows_P, leaf.row_bytes, write_bytes=memory_budget // 2, most_loaded=2 * threads + 1)
    task = f"bringing {leaf.reader.array.path} near"
    progress.start(task, leaf.num_rows * leaf.row_bytes)
    sorting = _Sorting(leaf, file, part_S, partial(progress.advance, task))
    step = max(1, min(_BLOCK_BYTES, share // 2) // leaf.row_bytes)
    blocks = [(start, min(start + step, leaf.num_rows)) for start in range(0, leaf.num_rows, step)]
    run([partial(sorting.move, start, end) for start, end in blocks], threads + 1)  # one waits for the disk
    file.finish()
    progress.finish(task)
    return _NearRows(file, part_S)


@dataclass(frozen=True, slots=True)
class _Sorting:
    """Moves blocks of stored rows to the parts that want them; several threads may."""

    leaf: StoredRows
    file: SpillFile
    part_S: NDArray[np.int64]
    """The part of each row, or -1; where it lies in the file once it was moved."""
    advance: Callable[[int], None]

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
        runs = list(pairwise(bounds))
        # threads begin at different parts, so that they do not wait for each other
        turn = start // max(1, end - start) * 37 % max(1, len(runs))
        for begin, stop in runs[turn:] + runs[:turn]:
            part = int(sorted_M[begin])
            first = self.file.append(part, grouped[begin:stop])
            part_N[order[begin:stop]] = (part << _ROW_BITS) + np.arange(first, first + stop - begin)
        self.advance(data.nbytes)

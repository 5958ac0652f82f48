"""The one pass over a table's rows: their norms, their hashes, and sums over groups of them.

Shape suffixes: V rows of a table, S rows of a sample, N rows in hand, D embedding_dim, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.kernels.row_hash import hash_rows
from embsnap.kernels.row_sums import RowSums, block_rows, combined, no_sums, sum_blocks
from embsnap.kernels.threads import run
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.stats.pieces import PieceNorms
from embsnap.ops.stats.scratch import Scratch

__all__ = ["Scan", "ScanPlan", "Scanned"]

_BLOCKS_PER_STRIPE = 16
"""One task's share, and of storage that cannot be mapped one read."""
_BLOCKS_IN_HAND = 4
"""Looked at together where that makes no difference to the sums: they fit into the cache that threads share."""


@dataclass(frozen=True, slots=True, eq=False)
class ScanPlan:
    """What is to be kept of a table's rows."""

    gram: bool
    hashes: bool
    rows_S: NDArray[np.int64] | None = None
    """Rows of a sample, ascending; None for all rows."""
    groups_V: NDArray[np.uint8] | None = None
    """Group of each row in hand (of each of the sample's, if there is one); None puts all into group 0."""
    num_groups: int = 1
    in_blocks: bool = True
    """Read a few blocks at a time, from storage that maps into memory; else a stripe at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """What was kept."""

    norms_V: NDArray[np.float64]
    """NaN for rows that are not finite; of a sample, its rows' alone."""
    hashes_2V: tuple[NDArray[np.uint64], NDArray[np.uint64]] | None
    sums_G: tuple[RowSums, ...]
    piece_norms: PieceNorms


class Scan:
    """One pass, in tasks of `_BLOCKS_PER_STRIPE` blocks whose sums are added up in the order of the rows.

    So the results are the same for any number of threads.
    """

    def __init__(self, reader: ArrayReader, plan: ScanPlan, scratch: Scratch) -> None:
        """Make room for what is kept.

        Raises:
            StorageError: There is none.
        """
        self._reader, self._plan = reader, plan
        self._in_place = reader.in_place() if plan.in_blocks and plan.rows_S is None else None
        self._num_rows = reader.num_rows if plan.rows_S is None else len(plan.rows_S)
        self._block_rows = block_rows(reader.dim)
        is_plain = not plan.gram and plan.groups_V is None
        self._rows_in_hand = self._block_rows * (_BLOCKS_IN_HAND if is_plain else 1)
        self._norms_V: NDArray[np.float64] = scratch.empty(self._num_rows, np.float64)
        kinds = (np.uint64, np.uint64) if plan.hashes else ()
        self._hashes: Sequence[NDArray[np.uint64]] = [scratch.empty(self._num_rows, kind) for kind in kinds]
        self._piece_norms = PieceNorms(reader.array.pieces, reader.dim if plan.rows_S is None else None)
        self._sums_G = [no_sums(reader.dim, gram=plan.gram) for _ in range(plan.num_groups)]
        self._waiting: dict[int, list[RowSums]] = {}
        self._next = 0
        self._lock = Lock()

    def __call__(self, threads: int, *, task: str = "statistics", progress: Progress = SILENT) -> Scanned:
        """Read every row once.

        Raises:
            SnapshotError: An object is not what the manifest says.
            StorageError: The storage failed.
        """
        step = self._block_rows * _BLOCKS_PER_STRIPE
        row_bytes = self._reader.dim * self._reader.dtype.itemsize
        progress.start(task, self._num_rows * row_bytes)

        def stripe(number: int) -> None:
            start, end = number * step, min((number + 1) * step, self._num_rows)
            self._take(number, self._stripe(start, end))
            progress.advance(task, (end - start) * row_bytes)

        try:
            run([partial(stripe, number) for number in range(-(-self._num_rows // step))], threads)
        finally:
            progress.finish(task)
        hashes = (self._hashes[0], self._hashes[1]) if self._plan.hashes else None
        return Scanned(self._norms_V, hashes, tuple(self._sums_G), self._piece_norms)

    def _stripe(self, start: int, end: int) -> list[RowSums]:
        """Sums of the rows `[start, end)` by group."""
        reader, plan = self._reader, self._plan
        read_rows = self._rows_in_hand if plan.in_blocks else end - start
        buffer_ND = np.empty((min(read_rows, end - start), reader.dim), reader.dtype)  # untouched while in place
        parts_G: list[list[RowSums]] = [[] for _ in range(plan.num_groups)]
        for first in range(start, end, read_rows):
            rows_ND = self._rows(first, min(first + read_rows, end), buffer_ND)
            for offset in range(0, len(rows_ND), self._rows_in_hand):
                self._blocks(first + offset, rows_ND[offset : offset + self._rows_in_hand], parts_G)
        return [combined(parts, reader.dim, gram=plan.gram) for parts in parts_G]

    def _rows(self, first: int, last: int, buffer_ND: NDArray[Any]) -> NDArray[Any]:
        """The rows in hand `[first, last)`, where they lie or in the buffer."""
        if self._plan.rows_S is not None:
            rows_ND = buffer_ND[: last - first]
            self._reader.gather(self._plan.rows_S[first:last], rows_ND)
            return rows_ND
        if self._in_place is not None and (found_ND := self._in_place.read(first, last)) is not None:
            return found_ND
        self._reader.read(first, last, buffer_ND[: last - first])
        return buffer_ND[: last - first]

    def _blocks(self, first: int, rows_ND: NDArray[Any], parts_G: list[list[RowSums]]) -> None:
        here, plan = slice(first, first + len(rows_ND)), self._plan
        if plan.hashes:
            hash_rows(rows_ND, self._hashes[0][here], self._hashes[1][here])
        if plan.rows_S is None:
            self._piece_norms.add(first, rows_ND)
        if plan.groups_V is None:
            parts_G[0] += sum_blocks(rows_ND, self._norms_V[here], gram=plan.gram)
            return
        groups_N = plan.groups_V[here]
        for group in np.unique(groups_N).tolist():
            members = np.flatnonzero(groups_N == group)
            norms = np.empty(len(members))
            parts_G[group] += sum_blocks(rows_ND[members], norms, gram=plan.gram)
            self._norms_V[first + members] = norms

    def _take(self, number: int, sums_G: list[RowSums]) -> None:
        with self._lock:
            self._waiting[number] = sums_G
            while self._next in self._waiting:
                pairs = zip(self._sums_G, self._waiting.pop(self._next), strict=True)
                self._sums_G = [combined(pair, self._reader.dim, gram=self._plan.gram) for pair in pairs]
                self._next += 1

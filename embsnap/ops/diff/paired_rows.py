"""The rows of two tables side by side, block by block, on several threads.

Shape suffixes: V rows of B's table, D embedding_dim, N rows in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.in_place import RowsInPlace
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.kernels.pairs import Comparison, compare_bands, floats_of
from embsnap.kernels.threads import run, split
from embsnap.model.progress import Progress
from embsnap.ops.diff.matching import MatchedRows
from embsnap.ops.staged_blocks import read_block

__all__ = ["PairedRows", "Visit"]

Visit = Callable[[int, NDArray[Any], NDArray[Any], NDArray[np.bool_]], None]
"""Takes the first row of a block in B, A's rows and B's rows as floats, and which of them are shared."""

_COMPARABLE = {np.dtype(np.float32), np.dtype(np.float64)}
_RANGES = 32
_BLOCK_BYTES = 4 << 20
"""Of one side. Smaller blocks stay in a core's cache, but cost more calls than that saves."""


class PairedRows:
    """Rows of A, put in the places of the rows of B that they belong to."""

    def __init__(self, reader_a: ArrayReader, reader_b: ArrayReader, matched: MatchedRows) -> None:
        """Nothing is read yet. Both have rows of the same width."""
        self._reader_a, self._reader_b, self._matched = reader_a, reader_b, matched

    @contextmanager
    def staged(self, progress: Progress) -> Iterator[None]:
        """For the time of a `with` block, rows of storage that cannot be mapped lie in temporary files."""
        row_V = self._matched.row_V
        try:
            self._reader_a.stage(None if row_V is None else [row_V], progress=progress)
            self._reader_b.stage(None, progress=progress)
            yield
        finally:
            self._reader_a.unstage()
            self._reader_b.unstage()

    @property
    def dim(self) -> int:
        """D."""
        return self._reader_b.dim

    @property
    def num_rows(self) -> int:
        """Rows of B that are looked at."""
        return self._matched.num_rows

    @property
    def _block_rows(self) -> int:
        widest = max(self._reader_a.dtype.itemsize, self._reader_b.dtype.itemsize)
        return max(1, _BLOCK_BYTES // max(1, self.dim * widest))

    def at(self, rows_N: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """A's and B's values of some shared rows of B, as floats."""
        rows_a_N = rows_N if self._matched.row_V is None else self._matched.row_V[rows_N]
        a_ND = np.empty((len(rows_N), self.dim), self._reader_a.dtype)
        b_ND = np.empty((len(rows_N), self.dim), self._reader_b.dtype)
        self._reader_a.gather(rows_a_N, a_ND)
        self._reader_b.gather(rows_N, b_ND)
        return floats_of(a_ND), floats_of(b_ND)

    def visit(self, new_visitor: Callable[[], Visit], *, threads: int, progress: Progress, task: str) -> None:
        """Show every block to a visitor.

        Args:
            new_visitor: Called once for each range of rows, in the order of the ranges; what it returns is called with
                the blocks of that range, in order. Ranges depend on the number of rows alone.
            threads: How many ranges are visited at a time.
            progress: Is told the rows done.
            task: What it calls them.
        """
        progress.start(task, self.num_rows, "rows")
        try:
            ranges = split(self.num_rows, _RANGES)
            run([partial(self._visit_range, *bounds, new_visitor(), progress, task) for bounds in ranges], threads)
        finally:
            progress.finish(task)

    def compare_in_place(self, out: Comparison, *, threads: int, progress: Progress, task: str) -> bool:
        """Compare all pairs where the rows lie, if both tables are mapped into memory and hold plain floats.

        Args:
            out: Has room for `num_rows` pairs.
            threads: As for `visit`, and so are the others.
            progress: Is told the rows done.
            task: What it calls them.

        Returns:
            Whether that was possible; if not, nothing was done.
        """
        a, b = self._reader_a.in_place(), self._reader_b.in_place()
        if a is None or b is None or not {a.bands.dtype, b.bands.dtype} <= _COMPARABLE:
            return False
        progress.start(task, self.num_rows, "rows")
        try:
            ranges = split(self.num_rows, _RANGES)
            run([partial(self._compare_range, *bounds, a, b, out, progress, task) for bounds in ranges], threads)
        finally:
            progress.finish(task)
        return True

    def _compare_range(
        self, start: int, end: int, a: RowsInPlace, b: RowsInPlace, out: Comparison, progress: Progress, task: str
    ) -> None:
        for first in range(start, end, self._block_rows):
            last = min(first + self._block_rows, end)
            b.passed(first, last)
            counts_P = compare_bands(a.bands, self._matched.rows_a(first, last), b.bands, first, out.part(first, last))
            a.picked(counts_P)
            progress.advance(task, last - first)

    def _visit_range(self, start: int, end: int, visitor: Visit, progress: Progress, task: str) -> None:
        block_rows = self._block_rows
        a_ND = np.zeros((block_rows, self.dim), self._reader_a.dtype)
        b_ND = np.empty((block_rows, self.dim), self._reader_b.dtype)
        for first in range(start, end, block_rows):
            last = min(first + block_rows, end)
            rows_a_N, num = self._matched.rows_a(first, last), last - first
            if self._matched.row_V is None:
                read_block(self._reader_a, first, last, a_ND[:num])
            else:
                self._reader_a.gather(rows_a_N, a_ND[:num])
            read_block(self._reader_b, first, last, b_ND[:num])
            visitor(first, floats_of(a_ND[:num]), floats_of(b_ND[:num]), rows_a_N >= 0)
            progress.advance(task, num)

"""Which rows a map names, and which entities have some of them.

Shape suffixes: N entities, V rows of one table, W rows of another.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel
from embsnap.kernels.threads import run, split

__all__ = ["count_in_place", "missing_rows", "rows_among"]

_MIN_ROWS = 1 << 16
"""Fewer are not worth a thread."""


def count_in_place(row_V: NDArray[np.int64], *, threads: int = 1) -> int:
    """How many rows a map gives their own number."""
    row_V = frozen(row_V, np.int64)
    return sum(run([partial(_count_in_place, row_V, *bounds) for bounds in _ranges(len(row_V), threads)], threads))


def missing_rows(row_V: NDArray[np.int64], num_rows: int, *, threads: int = 1) -> NDArray[np.int64]:
    """The rows of `[0, num_rows)` that a map does not name, ascending.

    Args:
        row_V: `int64[V]` below `num_rows`; negative ones name none.
        num_rows: W.
        threads: How many threads work on it.
    """
    row_V, is_named_W = frozen(row_V, np.int64), np.zeros(num_rows, np.bool_)
    run([partial(_mark, row_V, *bounds, is_named_W) for bounds in _ranges(len(row_V), threads)], threads)
    return np.flatnonzero(~is_named_W)


def rows_among(rows_N: NDArray[np.int64], is_wanted_V: NDArray[np.bool_], *, threads: int = 1) -> NDArray[np.int64]:
    """The indices, ascending, of those rows that are wanted.

    Args:
        rows_N: `int64[N]` in `[0, V)`.
        is_wanted_V: `bool[V]`.
        threads: How many threads work on it.
    """

    def found(start: int, end: int) -> NDArray[np.int64]:
        return start + np.flatnonzero(is_wanted_V[rows_N[start:end]])

    parts = run([partial(found, *bounds) for bounds in _ranges(len(rows_N), threads)], threads)
    return np.concatenate([np.empty(0, np.int64), *parts])


def _ranges(num_rows: int, threads: int) -> list[tuple[int, int]]:
    return split(num_rows, min(4 * threads, -(-num_rows // _MIN_ROWS)))


@kernel
def _count_in_place(row_V: Any, start: int, end: int) -> int:
    count = 0
    for row in range(start, end):
        count += row_V[row] == row
    return count


@kernel
def _mark(row_V: Any, start: int, end: int, is_named_W: Any) -> None:
    """Several threads may mark the same row: they all write the same."""
    for row in range(start, end):
        if row_V[row] >= 0:
            is_named_W[row_V[row]] = True

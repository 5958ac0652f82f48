"""The rows of entities that only the new side of a join has, with their keys.

Shape suffixes: V rows of the new table, N its ids, M its new entities.
"""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import kernel
from embsnap.kernels.probe import NEW_ROW
from embsnap.kernels.threads import run, split

__all__ = ["take_new"]

_BLOCK = 1024


def take_new(
    row_V: NDArray[np.int64], keys_N: NDArray[np.uint64], *, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Collect what the probing marked; the marks become -1.

    Args:
        row_V: `int64[V]`; `NEW_ROW - place` marks a row.
        keys_N: `uint64[N]`, with the marked row's key at each such place.
        threads: How many threads may work on it.

    Returns:
        The marked rows, ascending, and their keys.
    """
    ranges = split(len(row_V), threads)
    counts = run([partial(_count_marks, row_V, *bounds) for bounds in ranges], threads)
    rows_M, keys_M = np.empty(sum(counts), np.int64), np.empty(sum(counts), np.uint64)
    firsts = accumulate(counts, initial=0)
    outputs = (keys_N, rows_M, keys_M)
    run([partial(_take_marks, row_V, *b, *outputs, m) for b, m in zip(ranges, firsts, strict=False)], threads)
    return rows_M, keys_M


@kernel
def _count_marks(row_V: Any, start: int, end: int) -> int:
    count = 0
    for row in range(start, end):
        count += row_V[row] <= NEW_ROW
    return count


@kernel
def _take_marks(row_V: Any, start: int, end: int, keys_N: Any, rows_M: Any, keys_M: Any, first: int) -> None:
    rows, places = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    for block in range(start, end, _BLOCK):
        num_marks = 0
        for row in range(block, min(end, block + _BLOCK)):
            rows[num_marks], places[num_marks] = row, NEW_ROW - row_V[row]
            num_marks += row_V[row] <= NEW_ROW
            row_V[row] = max(row_V[row], -1)
        for m in range(num_marks):
            rows_M[first + m], keys_M[first + m] = rows[m], keys_N[places[m]]
        first += num_marks

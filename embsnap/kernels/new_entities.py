"""The rows of entities that only the new side of a join has, with their keys.

Shape suffixes: V rows of the new table, M new entities or places, N those of one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import kernel
from embsnap.kernels.probe import NEW_ROW
from embsnap.kernels.threads import run, split

__all__ = ["merge_new", "take_new"]

_BLOCK = 1024


def take_new(
    row_V: NDArray[np.int64], entries_M2: NDArray[np.uint64], threads: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Collect what the probing marked; the marks become -1.

    Args:
        row_V: `int64[V]`; `NEW_ROW - place` marks a row.
        entries_M2: `uint64[M, 2]`, the new side's entries; a key stands first.
        threads: How many threads may work on it.

    Returns:
        The marked rows, ascending, and their keys.
    """
    ranges = split(len(row_V), threads)
    counts = run([partial(_count_marks, row_V, *bounds) for bounds in ranges], threads)
    rows_M, keys_M = np.empty(sum(counts), np.int64), np.empty(sum(counts), np.uint64)
    firsts = accumulate(counts, initial=0)
    outputs = (entries_M2, rows_M, keys_M)
    run([partial(_take_marks, row_V, *b, *outputs, m) for b, m in zip(ranges, firsts, strict=False)], threads)
    return rows_M, keys_M


def merge_new(
    runs: Sequence[tuple[NDArray[np.int64], NDArray[np.uint64]]],
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Rows and keys of several runs, each ascending by row and none with another's rows, as one run."""
    if len(runs) == 1:
        return runs[0]
    half = len(runs) // 2
    left, right = merge_new(runs[:half]), merge_new(runs[half:])
    rows_M = np.empty(len(left[0]) + len(right[0]), np.int64)
    keys_M = np.empty(len(rows_M), np.uint64)
    _merge(*left, *right, rows_M, keys_M)
    return rows_M, keys_M


@kernel
def _count_marks(row_V: Any, start: int, end: int) -> int:
    count = 0
    for row in range(start, end):
        count += row_V[row] <= NEW_ROW
    return count


@kernel
def _take_marks(row_V: Any, start: int, end: int, entries_M2: Any, rows_M: Any, keys_M: Any, first: int) -> None:
    rows, places = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    for block in range(start, end, _BLOCK):
        num_marks = 0
        for row in range(block, min(end, block + _BLOCK)):
            rows[num_marks], places[num_marks] = row, NEW_ROW - row_V[row]
            num_marks += row_V[row] <= NEW_ROW
            row_V[row] = max(row_V[row], -1)
        for m in range(num_marks):
            rows_M[first + m], keys_M[first + m] = rows[m], entries_M2[places[m], 0]
        first += num_marks


@kernel
def _merge(left_N: Any, left_keys_N: Any, right_N: Any, right_keys_N: Any, rows_M: Any, keys_M: Any) -> None:
    i = j = 0
    for m in range(len(rows_M)):
        if j == len(right_N) or (i < len(left_N) and left_N[i] < right_N[j]):
            rows_M[m], keys_M[m] = left_N[i], left_keys_N[i]
            i += 1
        else:
            rows_M[m], keys_M[m] = right_N[j], right_keys_N[j]
            j += 1

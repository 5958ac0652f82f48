"""What is wrong with the rows that a vocabulary gives to its entities.

Shape suffixes: N entities, V rows of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel

__all__ = ["MAX_EXAMPLES", "RowCheck", "check_rows"]

MAX_EXAMPLES = 5
"""How many occurrences of a problem are named."""

_BITMAP_ROWS = 1 << 27
_BITMAP_ROWS_PER_ENTITY = 512


@dataclass(frozen=True, slots=True)
class RowCheck:
    """What `check_rows` found. Examples are the first `MAX_EXAMPLES` of their kind."""

    max_row: int
    """Largest row, whether in range or not; -1 without any."""
    num_out_of_range: int
    """Entities whose row is negative or beyond the table."""
    out_of_range_examples: tuple[int, ...]
    """Indices of such entities."""
    num_duplicates: int
    """Entities whose row, in range, an earlier entity has already."""
    duplicate_examples: tuple[int, ...]
    """Indices of such entities."""
    num_gap_rows: int
    """Rows without an entity below the largest row in range."""
    gap_examples: tuple[tuple[int, int], ...]
    """Half-open ranges of such rows."""


def check_rows(rows_N: NDArray[np.int64], num_rows: int | None) -> RowCheck:
    """Find rows out of range, rows given twice and rows left out.

    Args:
        rows_N: `int64[N]`, in any order.
        num_rows: V; None where every row that is not negative is in range.
    """
    rows_N = frozen(rows_N, np.int64)
    max_row = int(rows_N.max(initial=-1))
    limit = min(max_row + 1, np.iinfo(np.int64).max) if num_rows is None else num_rows
    out_of_range_N = np.full(MAX_EXAMPLES, -1, np.int64)
    num_out_of_range, last_row = _scan_range(rows_N, limit, out_of_range_N)
    if last_row < max(_BITMAP_ROWS, _BITMAP_ROWS_PER_ENTITY * len(rows_N)):
        duplicates, gaps = _check_dense(rows_N, last_row + 1)
    else:
        duplicates, gaps = _check_sparse(rows_N, last_row + 1)
    return RowCheck(max_row, num_out_of_range, _listed(out_of_range_N), *duplicates, *gaps)


_Duplicates = tuple[int, tuple[int, ...]]
_Gaps = tuple[int, tuple[tuple[int, int], ...]]


def _listed(examples: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(examples[examples >= 0].tolist())


def _check_dense(rows_N: NDArray[np.int64], end: int) -> tuple[_Duplicates, _Gaps]:
    """With one bit for each row below `end`."""
    bitmap = np.zeros((end + 63) // 64, np.uint64)
    examples = np.full(MAX_EXAMPLES, -1, np.int64)
    num_taken, num_duplicates = _mark(rows_N, end, bitmap, examples)
    gap_bounds = np.full((MAX_EXAMPLES, 2), -1, np.int64)
    if num_taken < end:
        _find_gaps(bitmap, end, gap_bounds)
    gaps = tuple((int(start), int(stop)) for start, stop in gap_bounds if start >= 0)
    return (num_duplicates, _listed(examples)), (end - num_taken, gaps)


def _check_sparse(rows_N: NDArray[np.int64], end: int) -> tuple[_Duplicates, _Gaps]:
    """By sorting, where the rows are so far apart that a bitmap would be larger."""
    (inside,) = np.nonzero((rows_N >= 0) & (rows_N < end))
    order = inside[np.argsort(rows_N[inside], kind="stable")]
    rows_M = rows_N[order]
    repeated = np.flatnonzero(rows_M[1:] == rows_M[:-1]) + 1
    examples = tuple(np.sort(order[repeated])[:MAX_EXAMPLES].tolist())
    before = np.concatenate([np.array([-1], np.int64), rows_M[:-1]])
    holes = np.flatnonzero(rows_M > before + 1)[:MAX_EXAMPLES]
    gaps = tuple((int(before[i]) + 1, int(rows_M[i])) for i in holes)
    return (len(repeated), examples), (end - (len(rows_M) - len(repeated)), gaps)


@kernel
def _scan_range(rows_N: Any, limit: int, examples: Any) -> tuple[int, int]:
    """How many rows are outside `[0, limit)`, the first few of them, and the largest row inside (or -1)."""
    num_outside, last_row = 0, -1
    for i in range(len(rows_N)):
        row = rows_N[i]
        if row < 0 or row >= limit:
            if num_outside < len(examples):
                examples[num_outside] = i
            num_outside += 1
        elif row > last_row:
            last_row = row
    return num_outside, last_row


@kernel
def _mark(rows_N: Any, end: int, bitmap: Any, examples: Any) -> tuple[int, int]:
    """Set the bit of each row; how many were set, and how often one was set already."""
    num_taken, num_duplicates = 0, 0
    for i in range(len(rows_N)):
        row = rows_N[i]
        if row < 0 or row >= end:
            continue
        bit = np.uint64(1) << np.uint64(row & 63)
        if bitmap[row >> 6] & bit:
            if num_duplicates < len(examples):
                examples[num_duplicates] = i
            num_duplicates += 1
        else:
            bitmap[row >> 6] |= bit
            num_taken += 1
    return num_taken, num_duplicates


@kernel
def _find_gaps(bitmap: Any, end: int, bounds: Any) -> None:
    """The first few runs of rows whose bit is not set, below `end`, whose last row's bit is."""
    found, start = 0, -1
    for row in range(end):
        if (bitmap[row >> 6] >> np.uint64(row & 63)) & np.uint64(1):
            if start >= 0:
                bounds[found, 0], bounds[found, 1] = start, row
                found, start = found + 1, -1
                if found == len(bounds):
                    return
        elif start < 0:
            start = row

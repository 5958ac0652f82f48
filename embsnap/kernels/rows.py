"""What is wrong with the rows that a vocabulary gives to its entities.

Shape suffixes: N entities, V rows of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel

__all__ = ["MAX_EXAMPLES", "HeldRows", "RowCheck", "check_rows", "is_dense"]

MAX_EXAMPLES = 5
"""How many occurrences of a problem are named."""

_BITMAP_ROWS = 1 << 27
_BITMAP_ROWS_PER_ENTITY = 512
_CHUNK_WORDS = 1 << 16


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
    if is_dense(last_row, len(rows_N)):
        duplicates, gaps = _check_dense(rows_N, last_row + 1)
    else:
        duplicates, gaps = _check_sparse(rows_N, last_row + 1)
    return RowCheck(max_row, num_out_of_range, _listed(out_of_range_N), *duplicates, *gaps)


def is_dense(last_row: int, num_entities: int) -> bool:
    """Whether a bit for each row is no great price."""
    return last_row < max(_BITMAP_ROWS, _BITMAP_ROWS_PER_ENTITY * num_entities)


@dataclass(frozen=True, slots=True, eq=False)
class HeldRows:
    """Which rows of a table have an entity: one bit for each row."""

    words: NDArray[np.uint64]
    """Bit `row % 64` of word `row // 64`; those beyond the table are 0."""

    @classmethod
    def of(cls, rows_N: NDArray[np.int64], num_rows: int) -> HeldRows:
        """Those of some rows, in any order; rows outside `[0, num_rows)` are passed over."""
        words = np.zeros((num_rows + 63) // 64, np.uint64)
        _mark(frozen(rows_N, np.int64), num_rows, words, np.empty(0, np.int64))
        return cls(words)

    def __len__(self) -> int:
        return int(np.bitwise_count(self.words).sum())

    def rows(self, start: int = 0, end: int | None = None) -> NDArray[np.int64]:
        """The rows of `[start, end)`, by default of the table, that have one, ascending."""
        first, end = start // 64, len(self.words) * 64 if end is None else end
        bits = np.unpackbits(self.words[first : -(-end // 64)].view(np.uint8), bitorder="little")
        rows_N = np.flatnonzero(bits) + first * 64
        return rows_N[(rows_N >= start) & (rows_N < end)]

    def check(self) -> RowCheck:
        """As `check_rows` says it of these rows."""
        (taken,) = np.nonzero(self.words)
        end = int(self.words[taken[-1]]).bit_length() + int(taken[-1]) * 64 if len(taken) else 0
        num_gap_rows = end - len(self)
        return RowCheck(end - 1, 0, (), 0, (), num_gap_rows, _gaps_of(self.words, end, num_gap_rows))

    def holes(self) -> NDArray[np.int64]:
        """`int64[H, 2]`: half-open ranges of rows without an entity below the last row that has one."""
        edges, is_held = [], 1
        for first in range(0, len(self.words), _CHUNK_WORDS):
            bits = np.unpackbits(self.words[first : first + _CHUNK_WORDS].view(np.uint8), bitorder="little")
            edges.append(np.flatnonzero(np.diff(bits, prepend=np.uint8(is_held))) + first * 64)
            is_held = int(bits[-1])
        edges_N = np.concatenate([np.empty(0, np.int64), *edges])
        return edges_N[: len(edges_N) // 2 * 2].reshape(-1, 2)


_Duplicates = tuple[int, tuple[int, ...]]
_Gaps = tuple[int, tuple[tuple[int, int], ...]]


def _listed(examples: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(examples[examples >= 0].tolist())


def _check_dense(rows_N: NDArray[np.int64], end: int) -> tuple[_Duplicates, _Gaps]:
    """With one bit for each row below `end`."""
    bitmap = np.zeros((end + 63) // 64, np.uint64)
    examples = np.full(MAX_EXAMPLES, -1, np.int64)
    num_taken, num_duplicates = _mark(rows_N, end, bitmap, examples)
    return (num_duplicates, _listed(examples)), (end - num_taken, _gaps_of(bitmap, end, end - num_taken))


def _gaps_of(bitmap: NDArray[np.uint64], end: int, num_gap_rows: int) -> tuple[tuple[int, int], ...]:
    """The first few half-open ranges of rows below `end` whose bits are not set."""
    bounds = np.full((MAX_EXAMPLES, 2), -1, np.int64)
    if num_gap_rows:
        _find_gaps(bitmap, end, bounds)
    return tuple((int(start), int(stop)) for start, stop in bounds if start >= 0)


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

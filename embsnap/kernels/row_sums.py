"""Sums over blocks of rows, from which norms, moments, cosines and the spectrum of a table follow.

A block is summed in float64, its moments about its own mean, in one pass; blocks are then combined in a fixed order.
No sum runs over more than `block_rows` rows one by one, so that a hundred million rows lose no digits.

Shape suffixes: N rows in hand, D embedding_dim, B blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import kernel, summing_kernel
from embsnap.kernels.reduce import widen

__all__ = ["RowSums", "block_rows", "combined", "no_sums", "sum_blocks"]

_BLOCK_ELEMENTS = 1 << 18
_MIN_BLOCK_ROWS, _MAX_BLOCK_ROWS = 64, 1 << 16
_ROWS_IN_HAND = 64
"""Looked at twice while they are in the nearest cache."""
_SMALLEST_INVERTIBLE = 1e-300


@dataclass(frozen=True, slots=True, eq=False)
class RowSums:
    """Of the finite rows of a set of rows."""

    num_rows: int
    """Finite rows."""
    num_units: int
    """Those of them that are not zero, and so have a direction."""
    mean_D: NDArray[np.float64]
    """Zeros without a row."""
    square_D: NDArray[np.float64]
    """Sum of squares about the mean."""
    unit_D: NDArray[np.float64]
    """Sum of the rows that are not zero, each divided by its norm."""
    gram_DD: NDArray[np.float64]
    """Sum of products about the mean; of shape `[0, 0]` if it was not asked for."""


def block_rows(dim: int) -> int:
    """How many rows make a block: a function of D alone, so that results depend on nothing else."""
    return min(max(_BLOCK_ELEMENTS // max(1, dim), _MIN_BLOCK_ROWS), _MAX_BLOCK_ROWS)


def no_sums(dim: int, *, gram: bool) -> RowSums:
    """The sums of no rows."""
    size = dim if gram else 0
    return RowSums(0, 0, np.zeros(dim), np.zeros(dim), np.zeros(dim), np.zeros((size, size)))


def sum_blocks(rows_ND: NDArray[Any], norms_N: NDArray[np.float64], *, gram: bool) -> list[RowSums]:
    """Sum rows, block by block.

    Args:
        rows_ND: `[N, D]` of float32, float64, float16 or bfloat16; the first row begins a block.
        norms_N: `float64[N]`, which gets each row's norm; NaN for a row with a NaN or an infinity. Norms neither
            overflow nor underflow, whatever the elements.
        gram: Whether `gram_DD` is wanted.

    Returns:
        Sums of the finite rows of every `block_rows(D)` rows; the last block may be shorter.
    """
    rows_ND, (num_rows, dim) = widen(rows_ND), rows_ND.shape
    step = block_rows(dim)
    starts = range(0, num_rows, step)
    counts_B2 = np.zeros((len(starts), 2), np.int64)
    mean_BD, square_BD, unit_BD, moved_BD = np.zeros((4, len(starts), dim))
    moved_ND = np.empty((num_rows, dim) if gram else (0, 0))
    _sum_blocks(rows_ND, norms_N, step, counts_B2, mean_BD, square_BD, unit_BD, moved_BD, moved_ND)
    grams = [_gram(moved_ND[start : start + step], moved) for start, moved in zip(starts, moved_BD, strict=True)]
    return [
        RowSums(num_rows, num_units, mean_D, square_D, unit_D, gram_DD)
        for (num_rows, num_units), mean_D, square_D, unit_D, gram_DD in zip(
            counts_B2.tolist(), mean_BD, square_BD, unit_BD, grams, strict=True
        )
    ]


def _gram(moved_ND: NDArray[np.float64], moved_D: NDArray[np.float64]) -> NDArray[np.float64]:
    """Products of rows that were moved: about their own mean again, of which `moved_D` is √N times what was left."""
    with np.errstate(over="ignore", invalid="ignore"):  # what leaves the range of float64 is found later
        gram_DD: NDArray[np.float64] = moved_ND.T @ moved_ND
        return gram_DD - np.multiply.outer(moved_D, moved_D) if gram_DD.size else gram_DD


def combined(sums: Iterable[RowSums], dim: int, *, gram: bool) -> RowSums:
    """The sums of several disjoint sets of rows, added up in the order given.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """
    total = no_sums(dim, gram=gram)
    for part in sums:
        total = _combined(total, part) if total.num_rows and part.num_rows else max(total, part, key=_num_rows)
    return total


def _num_rows(sums: RowSums) -> int:
    return sums.num_rows


def _combined(left: RowSums, right: RowSums) -> RowSums:
    num_rows = left.num_rows + right.num_rows
    step_D, weight = right.mean_D - left.mean_D, left.num_rows * (right.num_rows / num_rows)
    gram_DD = left.gram_DD + right.gram_DD
    if gram_DD.size:
        gram_DD += np.multiply.outer(step_D, step_D * weight)
    return RowSums(
        num_rows,
        left.num_units + right.num_units,
        left.mean_D + step_D * (right.num_rows / num_rows),
        left.square_D + right.square_D + step_D * step_D * weight,
        left.unit_D + right.unit_D,
        gram_DD,
    )


@kernel
def _sum_blocks(
    rows_ND: Any,
    norms_N: Any,
    step: int,
    counts_B2: Any,
    mean_BD: Any,
    square_BD: Any,
    unit_BD: Any,
    moved_BD: Any,
    moved_ND: Any,
) -> None:
    for block in range(len(counts_B2)):
        here = slice(block * step, min((block + 1) * step, len(rows_ND)))
        mean_D, square_D, sum_D = mean_BD[block], square_BD[block], moved_BD[block]
        moved = moved_ND[here] if len(moved_ND) else moved_ND
        counts_B2[block] = num, _ = _sum(rows_ND[here], norms_N[here], mean_D, sum_D, square_D, unit_BD[block], moved)
        for j in range(len(mean_D)):
            share = sum_D[j] / max(1, num)
            mean_D[j] += share
            if sum_D[j] * share < np.inf:
                square_D[j] = max(0.0, square_D[j] - sum_D[j] * share)
            sum_D[j] /= np.sqrt(max(1, num))


@summing_kernel
def _sum(
    rows_ND: Any, norms_N: Any, pivot_D: Any, sum_D: Any, square_D: Any, unit_D: Any, moved_ND: Any
) -> tuple[int, int]:
    """Norms, directions, and sums of the rows moved by a pivot; how many are finite, and how many of them not zero.

    The pivot p is the mean of the k finite rows among the first few that have one. So hardly a digit is lost when
    squares about the mean m of all n follow from those about p: as n var >= k (p - m)², they are n / k times as large
    at the worst. Four rows are added at a time, so that sums are loaded and stored a quarter as often.
    """
    num_rows, dim = rows_ND.shape
    num_finite, num_units, scales = 0, 0, np.empty(_ROWS_IN_HAND)
    for first in range(0, num_rows, _ROWS_IN_HAND):
        last, num_here, is_plain = min(first + _ROWS_IN_HAND, num_rows), 0, True
        for i in range(first, last):
            square = 0.0
            for j in range(dim):
                value = np.float64(rows_ND[i, j])
                square += value * value
            norm = np.sqrt(square)
            if not 1e-140 < norm < 1e150:
                norm = _scaled_norm(rows_ND, i)
            norms_N[i] = norm
            num_here += norm < np.inf
            num_units += 0.0 < norm < np.inf
            has_scale = _SMALLEST_INVERTIBLE < norm < np.inf
            scales[i - first] = 1.0 / norm if has_scale else 0.0
            is_plain &= has_scale or norm == 0.0
        if not num_finite:
            _add_mean(rows_ND[first:last], norms_N[first:last], num_here, pivot_D)
        num_finite += num_here
        end = first + (last - first) // 4 * 4 if is_plain else first
        for i in range(first, end, 4):
            s, t, u, v = scales[i - first], scales[i - first + 1], scales[i - first + 2], scales[i - first + 3]
            for j in range(dim):
                a, b = np.float64(rows_ND[i, j]), np.float64(rows_ND[i + 1, j])
                c, d = np.float64(rows_ND[i + 2, j]), np.float64(rows_ND[i + 3, j])
                unit_D[j] += (a * s + b * t) + (c * u + d * v)
                a, b, c, d = a - pivot_D[j], b - pivot_D[j], c - pivot_D[j], d - pivot_D[j]
                sum_D[j] += (a + b) + (c + d)
                square_D[j] += (a * a + b * b) + (c * c + d * d)
        for i in range(end, last):
            _add_one(rows_ND[i], norms_N[i], pivot_D, sum_D, square_D, unit_D)
        if len(moved_ND):
            for i in range(first, last):
                for j in range(dim):
                    moved_ND[i, j] = rows_ND[i, j] - pivot_D[j] if norms_N[i] < np.inf else 0.0
    return num_finite, num_units


@kernel
def _add_one(row_D: Any, norm: float, pivot_D: Any, sum_D: Any, square_D: Any, unit_D: Any) -> None:
    if norm < np.inf:
        for j in range(len(row_D)):
            step = row_D[j] - pivot_D[j]
            sum_D[j] += step
            square_D[j] += step * step
            if norm > 0.0:
                unit_D[j] += row_D[j] / norm


@kernel
def _add_mean(rows_ND: Any, norms_N: Any, num_finite: int, mean_D: Any) -> None:
    for i in range(len(rows_ND)):
        if norms_N[i] < np.inf:
            for j in range(rows_ND.shape[1]):
                mean_D[j] += rows_ND[i, j]
    for j in range(len(mean_D)):
        mean_D[j] /= max(1, num_finite)


@kernel
def _scaled_norm(rows_ND: Any, i: int) -> Any:
    """The norm of a row whose squares may leave the range of float64; NaN if an element is not finite."""
    dim = rows_ND.shape[1]
    largest = 0.0
    for j in range(dim):
        value = abs(np.float64(rows_ND[i, j]))
        if not value < np.inf:
            return np.nan
        largest = max(largest, value)
    if largest == 0.0:
        return 0.0
    square = 0.0
    for j in range(dim):
        square += (np.float64(rows_ND[i, j]) / largest) ** 2
    return min(largest * np.sqrt(square), np.finfo(np.float64).max)

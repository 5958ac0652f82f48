"""Sums over blocks of rows, from which norms, moments, cosines and the spectrum of a table follow.

A block is summed in float64, its moments about its own mean, while it is in the cache; blocks are then combined in a
fixed order. No sum runs over more than `block_rows` rows one by one, so that a hundred million rows lose no digits.

Shape suffixes: N rows in hand, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import kernel, summing_kernel
from embsnap.kernels.reduce import widen

__all__ = ["RowSums", "block_rows", "combined", "no_sums", "sum_rows"]

_BLOCK_ELEMENTS = 1 << 18
_MIN_BLOCK_ROWS, _MAX_BLOCK_ROWS = 64, 1 << 16
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


def sum_rows(rows_ND: NDArray[Any], norms_N: NDArray[np.float64], *, gram: bool) -> RowSums:
    """Sum a block of rows.

    Args:
        rows_ND: `[N, D]` of float32, float64, float16 or bfloat16; at most about `block_rows(D)` rows.
        norms_N: `float64[N]`, which gets each row's norm; NaN for a row with a NaN or an infinity. Norms neither
            overflow nor underflow, whatever the elements.
        gram: Whether `gram_DD` is wanted.

    Returns:
        Sums of the finite rows.
    """
    rows_ND = widen(rows_ND)
    num_rows, dim = rows_ND.shape
    mean_D, square_D, unit_D = np.zeros(dim), np.zeros(dim), np.zeros(dim)
    num_finite = _sum(rows_ND, norms_N, mean_D)
    mean_D /= max(1, num_finite)
    centred_ND = np.empty((num_rows, dim) if gram else (0, 0))
    num_units = _sum_about_mean(rows_ND, norms_N, mean_D, square_D, unit_D, centred_ND)
    return RowSums(num_finite, num_units, mean_D, square_D, unit_D, centred_ND.T @ centred_ND)


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


@summing_kernel
def _sum(rows_ND: Any, norms_N: Any, sum_D: Any) -> int:
    """The norm of each row, and the sum of the finite ones; how many are finite."""
    num_rows, dim = rows_ND.shape
    num_finite = 0
    for i in range(num_rows):
        square = 0.0
        for j in range(dim):
            value = np.float64(rows_ND[i, j])
            square += value * value
        norm = np.sqrt(square)
        if not 1e-140 < norm < 1e150:
            norm = _scaled_norm(rows_ND, i)
        norms_N[i] = norm
        if norm < np.inf:
            num_finite += 1
            for j in range(dim):
                sum_D[j] += rows_ND[i, j]
    return num_finite


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


@summing_kernel
def _sum_about_mean(rows_ND: Any, norms_N: Any, mean_D: Any, square_D: Any, unit_D: Any, centred_ND: Any) -> int:
    """Squares about the mean, and directions; the rows less their mean, zeros for those that are not finite."""
    num_rows, dim = rows_ND.shape
    keep = centred_ND.shape[0] > 0
    num_units = 0
    for i in range(num_rows):
        norm = norms_N[i]
        if not norm < np.inf:
            if keep:
                centred_ND[i] = 0.0
            continue
        scale = 1.0 / norm if norm > _SMALLEST_INVERTIBLE else 0.0
        for j in range(dim):
            step = rows_ND[i, j] - mean_D[j]
            square_D[j] += step * step
            unit_D[j] += rows_ND[i, j] * scale
        if keep:
            for j in range(dim):
                centred_ND[i, j] = rows_ND[i, j] - mean_D[j]
        if norm > 0.0:
            num_units += 1
            if scale == 0.0:
                for j in range(dim):
                    unit_D[j] += rows_ND[i, j] / norm
    return num_units

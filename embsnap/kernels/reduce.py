"""Sums over rows that come out the same however the rows are cut and whoever adds them up.

Shape suffixes: N rows in hand, V rows of a table, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel

__all__ = ["BLOCK_ROWS", "Moments", "RowMoments", "row_norms", "widen"]

BLOCK_ROWS = 65_536
"""Rows that are summed on their own before the sums are combined."""

_CHUNK_ROWS = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Of the rows of a table, each row one observation."""

    num_rows: int
    mean_D: NDArray[np.float64]
    covariance_DD: NDArray[np.float64]
    """Over `num_rows`, not one less; symmetric; of shape `[0, 0]` if it was not asked for."""


class RowMoments:
    """Mean and covariance of a table's rows, fed in blocks of `BLOCK_ROWS`.

    Each block is summed in float64, row after row, about its own mean; the blocks are combined in the order of the
    table, whatever the order in which they are added and the threads that add them. Combining follows Chan, Golub,
    LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """

    def __init__(self, num_rows: int, dim: int, *, covariance: bool = False) -> None:
        """Expect `num_rows` rows of `dim` elements, each block once.

        Raises:
            ValueError: There are no rows.
        """
        if num_rows <= 0:
            raise ValueError("a table without rows has no mean")
        self._num_rows, self._dim, self._size = num_rows, dim, dim if covariance else 0
        self._num_blocks = -(-num_rows // BLOCK_ROWS)
        self._lock = Lock()
        self._waiting: dict[int, Moments] = {}
        self._num_combined = 0
        self._total = Moments(0, np.zeros(dim), np.zeros((self._size, self._size)))

    @property
    def num_blocks(self) -> int:
        """How many blocks the table has; block b has rows `[b * BLOCK_ROWS, min(V, (b + 1) * BLOCK_ROWS))`."""
        return self._num_blocks

    def add(self, block: int, rows_ND: NDArray[Any]) -> None:
        """Add block number `block`, from any thread; arguments and errors as for `of_block` and `take`."""
        self.take(block, self.of_block(block, rows_ND))

    def of_block(self, block: int, rows_ND: NDArray[Any]) -> Moments:
        """The sums of block number `block`, which are not added yet.

        Args:
            block: Its number.
            rows_ND: All of its rows, `[N, D]` of float32, float64, float16, bfloat16, or uint16 (the bits of bfloat16).

        Raises:
            ValueError: There is no such block, or it has another shape.
        """
        if not 0 <= block < self._num_blocks:
            raise ValueError(f"there is no block {block}, there are {self._num_blocks}")
        expected = (min(BLOCK_ROWS, self._num_rows - block * BLOCK_ROWS), self._dim)
        if rows_ND.shape != expected:
            raise ValueError(f"block {block} must have the shape {expected}, found {rows_ND.shape}")
        mean_D, square_DD = np.zeros(self._dim), np.zeros((self._size, self._size))
        for rows in _widened(rows_ND):
            _sum_rows(rows, mean_D)
        mean_D /= len(rows_ND)
        if self._size:
            for rows in _widened(rows_ND):
                _sum_products(rows, mean_D, square_DD)
        return Moments(len(rows_ND), mean_D, square_DD)

    def take(self, block: int, moments: Moments) -> None:
        """Add the sums of a block, each once, from any thread.

        Raises:
            ValueError: It was added before.
        """
        with self._lock:
            if block < self._num_combined or block in self._waiting:
                raise ValueError(f"block {block} was added before")
            self._waiting[block] = moments
            while self._num_combined in self._waiting:
                self._total = _combined(self._total, self._waiting.pop(self._num_combined))
                self._num_combined += 1

    def result(self) -> Moments:
        """Mean and covariance of all rows.

        Raises:
            ValueError: A block is missing.
        """
        with self._lock:
            if self._num_combined < self._num_blocks:
                raise ValueError(f"block {self._num_combined} of {self._num_blocks} is missing")
            total = self._total
        covariance_DD = (np.triu(total.covariance_DD) + np.triu(total.covariance_DD, 1).T) / total.num_rows
        return Moments(total.num_rows, total.mean_D.copy(), covariance_DD)


def _combined(left: Moments, right: Moments) -> Moments:
    """The sums of both; `covariance_DD` holds, at and above the diagonal, sums of products about the mean."""
    num_rows = left.num_rows + right.num_rows
    step_D = right.mean_D - left.mean_D
    mean_D = left.mean_D + step_D * (right.num_rows / num_rows)
    square_DD = left.covariance_DD + right.covariance_DD
    if square_DD.size:
        square_DD += np.multiply.outer(step_D, step_D) * (left.num_rows * right.num_rows / num_rows)
    return Moments(num_rows, mean_D, square_DD)


def row_norms(rows_ND: NDArray[Any]) -> NDArray[np.float64]:
    """Euclidean norm of each row, in float64.

    Args:
        rows_ND: `[N, D]` of float32, float64, float16, bfloat16, or uint16 (the bits of bfloat16).

    Returns:
        `float64[N]`. A row's norm depends on that row alone.
    """
    norms_N = np.empty(len(rows_ND), np.float64)
    start = 0
    for rows in _widened(rows_ND):
        _norms(rows, norms_N[start : start + len(rows)])
        start += len(rows)
    return norms_N


def widen(rows_ND: NDArray[Any]) -> NDArray[Any]:
    """The same numbers as read-only, C-contiguous float32, or float64 where they are float64; copied where need be.

    Args:
        rows_ND: `[N, D]` of float32, float64, float16, bfloat16, or uint16 (the bits of bfloat16).

    Raises:
        TypeError: They are of another type.
    """
    if rows_ND.dtype in (np.float32, np.float64):
        return frozen(rows_ND, rows_ND.dtype)
    if rows_ND.dtype == np.uint16 or rows_ND.dtype.name == "bfloat16":
        bits = np.left_shift(np.ascontiguousarray(rows_ND).view(np.uint16), np.uint32(16), dtype=np.uint32)
        return frozen(bits.view(np.float32), np.float32)
    if rows_ND.dtype == np.float16:
        return frozen(rows_ND, np.float32)
    raise TypeError(f"rows must be floating point, found {rows_ND.dtype}")


def _widened(rows_ND: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows as read-only float32 or float64, chunk by chunk where they have to be converted."""
    if rows_ND.dtype in (np.float32, np.float64):
        yield widen(rows_ND)
        return
    for start in range(0, len(rows_ND), _CHUNK_ROWS):
        yield widen(rows_ND[start : start + _CHUNK_ROWS])


@kernel
def _sum_rows(rows_ND: Any, sum_D: Any) -> None:
    for i in range(rows_ND.shape[0]):
        for j in range(rows_ND.shape[1]):
            sum_D[j] += rows_ND[i, j]


@kernel
def _sum_products(rows_ND: Any, mean_D: Any, square_DD: Any) -> None:
    """Add each row's products about the mean, at and above the diagonal."""
    dim = rows_ND.shape[1]
    row_D = np.empty(dim, np.float64)
    for i in range(rows_ND.shape[0]):
        for j in range(dim):
            row_D[j] = rows_ND[i, j] - mean_D[j]
        for k in range(dim):
            for j in range(k, dim):
                square_DD[k, j] += row_D[k] * row_D[j]


@kernel
def _norms(rows_ND: Any, norms_N: Any) -> None:
    """In four sums, so that an addition need not wait for the one before it."""
    dim = rows_ND.shape[1]
    for i in range(rows_ND.shape[0]):
        one = two = three = four = 0.0
        for j in range(0, dim - 3, 4):
            one += np.float64(rows_ND[i, j]) ** 2
            two += np.float64(rows_ND[i, j + 1]) ** 2
            three += np.float64(rows_ND[i, j + 2]) ** 2
            four += np.float64(rows_ND[i, j + 3]) ** 2
        for j in range(dim // 4 * 4, dim):
            one += np.float64(rows_ND[i, j]) ** 2
        norms_N[i] = np.sqrt((one + two) + (three + four))

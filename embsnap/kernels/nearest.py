"""The k rows nearest to some others by cosine: exact, block by block, in memory that does not grow with the table.

A cosine is first estimated in single precision, many queries at a time. Where the estimate, with all that it can be
wrong by, does not rule the row out, the cosine is computed in double precision, which alone decides.

Shape suffixes: Q queries, K neighbours of each, N rows in hand, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel, primitive, summing_kernel
from embsnap.kernels.reduce import row_norms

__all__ = ["Nearest", "merged"]


def _most_wrong_by(dim: int) -> float:
    """What an estimate can be wrong by: Higham's bound for a dot product of unit vectors, and their own rounding."""
    return (dim + 8) * float(np.finfo(np.float32).eps)


class Nearest:
    """The best neighbours seen so far of Q queries. Of neighbours as near as each other those with lower rows count.

    One instance is fed by one thread; `merged` joins several.
    """

    def __init__(self, queries_QD: NDArray[Any], k: int, excluded_Q: NDArray[np.int64]) -> None:
        """Nothing seen yet.

        Args:
            queries_QD: `[Q, D]` of any float. Those that are zero or not finite get no neighbours.
            k: How many neighbours are kept of each, at least 1.
            excluded_Q: `int64[Q]`: a row that is no neighbour of the query, such as its own; -1 for none.
        """
        queries_QD = np.ascontiguousarray(queries_QD, np.float64)
        norms_Q = row_norms(queries_QD)
        asks_Q = (norms_Q > 0) & np.isfinite(norms_Q)
        units_QD = np.zeros_like(queries_QD)
        np.divide(queries_QD, norms_Q[:, None], out=units_QD, where=asks_Q[:, None])
        self._units_QD = frozen(units_QD, np.float64)
        self._units_DQ = frozen(units_QD.T, np.float32)
        self._excluded_Q = frozen(excluded_Q, np.int64)
        self._least_Q = np.where(asks_Q, np.float32(-np.inf), np.float32(np.inf))
        """Rows with a lower estimate are not looked at."""
        self._cosines_QK = np.full((len(queries_QD), k), -np.inf)
        self._rows_QK = np.full((len(queries_QD), k), np.iinfo(np.int64).max)

    def add(self, first_row: int, rows_ND: NDArray[Any], counts_N: NDArray[np.bool_] | None = None) -> None:
        """Look at the rows `[first_row, first_row + N)`; rows that are zero or not finite are nobody's neighbours.

        Args:
            first_row: Number of the first one.
            rows_ND: `[N, D]` of float32 or float64.
            counts_N: `bool[N]`: which rows are looked at; all, if left out.
        """
        norms_N = row_norms(rows_ND)
        counts = (norms_N > 0) & np.isfinite(norms_N)
        if counts_N is not None:
            counts &= counts_N
        factors_N = np.zeros(len(rows_ND))
        np.divide(1.0, norms_N, out=factors_N, where=counts)
        rows_ND, factors_N = frozen(rows_ND, rows_ND.dtype), frozen(factors_N, np.float64)
        _keep_best(
            first_row,
            rows_ND,
            factors_N,
            self._units_QD,
            self._units_DQ,
            _most_wrong_by(rows_ND.shape[1]),
            self._excluded_Q,
            self._least_Q,
            self._cosines_QK,
            self._rows_QK,
        )

    def result(self) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Rows and cosines of each query's neighbours, the nearest first; fewer than k where there are no more."""
        return merged([self])


def merged(parts: Sequence[Nearest]) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The same over several instances with the same queries that have seen different rows."""
    k = parts[0]._rows_QK.shape[1]
    cosines = np.concatenate([part._cosines_QK for part in parts], axis=1)
    rows = np.concatenate([part._rows_QK for part in parts], axis=1)
    order = np.lexsort((rows, -cosines), axis=1)[:, :k]
    cosines, rows = np.take_along_axis(cosines, order, 1), np.take_along_axis(rows, order, 1)
    found_QK = np.isfinite(cosines)
    return [(r[found], np.clip(c[found], -1, 1)) for r, c, found in zip(rows, cosines, found_QK, strict=True)]


@summing_kernel
def _estimate(row_D: Any, factor: float, units_DQ: Any, estimates_Q: Any) -> None:
    """Cosines of a row with all queries, four columns at a time, the queries side by side in vectors."""
    num_queries, dim = len(estimates_Q), len(row_D)
    estimates_Q[:] = 0
    whole = dim // 4 * 4
    for j in range(0, whole, 4):
        a, b = np.float32(row_D[j] * factor), np.float32(row_D[j + 1] * factor)
        c, d = np.float32(row_D[j + 2] * factor), np.float32(row_D[j + 3] * factor)
        for q in range(num_queries):
            pair = a * units_DQ[j, q] + b * units_DQ[j + 1, q]
            estimates_Q[q] += pair + (c * units_DQ[j + 2, q] + d * units_DQ[j + 3, q])
    for j in range(whole, dim):
        a = np.float32(row_D[j] * factor)
        for q in range(num_queries):
            estimates_Q[q] += a * units_DQ[j, q]


@summing_kernel
def _cosine(unit_D: Any, row_D: Any, factor: float) -> float:
    total = 0.0
    for j in range(len(row_D)):
        total += unit_D[j] * np.float64(row_D[j])
    return total * factor


@kernel
def _reaches_any(estimates_Q: Any, least_Q: Any) -> bool:
    num_lower = 0
    for q in range(len(least_Q)):
        num_lower += estimates_Q[q] < least_Q[q]
    return num_lower < len(least_Q)


@primitive
def _is_worse(cosine: Any, row: Any, other_cosine: Any, other_row: Any) -> Any:
    return cosine < other_cosine or (cosine == other_cosine and row > other_row)


@kernel
def _keep_best(
    first_row: int,
    rows_ND: Any,
    factors_N: Any,
    units_QD: Any,
    units_DQ: Any,
    most_wrong_by: float,
    excluded_Q: Any,
    least_Q: Any,
    cosines_QK: Any,
    rows_QK: Any,
) -> None:
    """Each query has a heap, whose first place holds the worst neighbour that is kept."""
    k = cosines_QK.shape[1]
    estimates_Q = np.empty(len(least_Q), np.float32)
    for i in range(len(factors_N)):
        if factors_N[i] == 0:
            continue
        row = first_row + i
        _estimate(rows_ND[i], factors_N[i], units_DQ, estimates_Q)
        if not _reaches_any(estimates_Q, least_Q):
            continue
        for q in range(len(least_Q)):
            if estimates_Q[q] < least_Q[q] or excluded_Q[q] == row:
                continue
            cosine = _cosine(units_QD[q], rows_ND[i], factors_N[i])
            if not _is_worse(cosines_QK[q, 0], rows_QK[q, 0], cosine, row):
                continue
            place = 0
            while True:
                child = 2 * place + 1
                if child >= k:
                    break
                if child + 1 < k and _is_worse(
                    cosines_QK[q, child + 1], rows_QK[q, child + 1], cosines_QK[q, child], rows_QK[q, child]
                ):
                    child += 1
                if not _is_worse(cosines_QK[q, child], rows_QK[q, child], cosine, row):
                    break
                cosines_QK[q, place], rows_QK[q, place] = cosines_QK[q, child], rows_QK[q, child]
                place = child
            cosines_QK[q, place], rows_QK[q, place] = cosine, row
            least_Q[q] = cosines_QK[q, 0] - most_wrong_by

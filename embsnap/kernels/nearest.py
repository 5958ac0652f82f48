"""The k rows nearest to some others by cosine: exact, block by block, in memory that does not grow with the table.

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

_TILE_ROWS = 64
"""Rows that stay in a core's first cache while all queries are held against them."""


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
        self._asks_Q = (norms_Q > 0) & np.isfinite(norms_Q)
        units_QD = np.zeros_like(queries_QD)
        np.divide(queries_QD, norms_Q[:, None], out=units_QD, where=self._asks_Q[:, None])
        self._units_QD = frozen(units_QD, np.float64)
        self._excluded_Q = frozen(excluded_Q, np.int64)
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
        cosines_TQ = np.empty((_TILE_ROWS, len(self._units_QD)))
        for start in range(0, len(rows_ND), _TILE_ROWS):
            tile = slice(start, min(start + _TILE_ROWS, len(rows_ND)))
            _cosines(self._units_QD, rows_ND[tile], factors_N[tile], cosines_TQ)
            found = (first_row + start, factors_N[tile], cosines_TQ)
            _keep_best(*found, self._asks_Q, self._excluded_Q, self._cosines_QK, self._rows_QK)

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
def _cosines(units_QD: Any, rows_ND: Any, factors_N: Any, cosines_NQ: Any) -> None:
    for q in range(units_QD.shape[0]):
        for i in range(rows_ND.shape[0]):
            if factors_N[i] == 0:
                continue
            total = 0.0
            for j in range(rows_ND.shape[1]):
                total += units_QD[q, j] * np.float64(rows_ND[i, j])
            cosines_NQ[i, q] = total * factors_N[i]


@primitive
def _is_worse(cosine: Any, row: Any, other_cosine: Any, other_row: Any) -> Any:
    return cosine < other_cosine or (cosine == other_cosine and row > other_row)


@kernel
def _keep_best(
    first_row: int, factors_N: Any, cosines_NQ: Any, asks_Q: Any, excluded_Q: Any, cosines_QK: Any, rows_QK: Any
) -> None:
    """Each query has a heap, whose first place holds the worst neighbour that is kept."""
    k = cosines_QK.shape[1]
    for i in range(len(factors_N)):
        if factors_N[i] == 0:
            continue
        row = first_row + i
        for q in range(cosines_QK.shape[0]):
            cosine = cosines_NQ[i, q]
            if not asks_Q[q] or excluded_Q[q] == row or not _is_worse(cosines_QK[q, 0], rows_QK[q, 0], cosine, row):
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

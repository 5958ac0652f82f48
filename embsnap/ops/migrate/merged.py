"""Rows of several tables in one: each row from one of them, or a weighted mean of several.

Shape suffixes: K tables, V rows of the merged one, N rows in hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.ops.migrate.nodes import RowNode, StoredRows

__all__ = ["MergedRows"]


class MergedRows(RowNode):
    """Row i is the mean of the rows `row_KV[:, i]` that are not negative, by the weights there, in float64.

    A row of one table alone is that row, bit for bit; a row of none is a row of `fill`.
    """

    def __init__(
        self,
        sources: Sequence[RowNode],
        row_KV: NDArray[np.int64],
        weight_KV: NDArray[np.float64] | None,
        fill: RowNode,
    ) -> None:
        """`weight_KV` is None where no row is made of several."""
        self.sources, self.row_KV, self.weight_KV, self.fill = sources, row_KV, weight_KV, fill
        self.num_rows, self.dim, self.dtype = row_KV.shape[1], sources[0].dim, sources[0].dtype

    def gather(self, rows_N: NDArray[np.int64], out_ND: NDArray[Any]) -> None:
        """Single rows straight into their places; the others are summed apart."""
        row_KN = self._source_rows(rows_N)
        num_N = (row_KN >= 0).sum(axis=0)
        for source, row_N in zip(self.sources, row_KN, strict=True):
            source.gather(np.where(num_N == 1, row_N, -1), out_ND)
        missing_N = num_N == 0
        if missing_N.any():
            self.fill.gather(np.where(missing_N, rows_N, -1), out_ND)
        several = np.flatnonzero(num_N > 1)
        if len(several):
            out_ND[several] = self._means(rows_N[several], row_KN[:, several])

    def _source_rows(self, rows_N: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(rows_N >= 0, self.row_KV[:, rows_N], -1)

    def _means(self, rows_N: NDArray[np.int64], row_KN: NDArray[np.int64]) -> NDArray[np.float64]:
        assert self.weight_KV is not None
        weight_KN = np.where(row_KN >= 0, self.weight_KV[:, rows_N], 0.0)
        sum_ND, rows_ND = np.zeros((len(rows_N), self.dim)), np.zeros((len(rows_N), self.dim), self.dtype)
        for source, row_N, weight_N in zip(self.sources, row_KN, weight_KN, strict=True):
            source.gather(row_N, rows_ND)
            sum_ND += np.where(weight_N[:, None] > 0, rows_ND.astype(np.float64) * weight_N[:, None], 0)
        mean_ND: NDArray[np.float64] = sum_ND / weight_KN.sum(axis=0)[:, None]
        return mean_ND

    def leaves(self, rows_N: NDArray[np.int64]) -> Iterator[tuple[StoredRows, NDArray[np.int64]]]:
        """Of all tables."""
        for source, row_N in zip(self.sources, self._source_rows(rows_N), strict=True):
            yield from source.leaves(row_N)
        yield from self.fill.leaves(rows_N)

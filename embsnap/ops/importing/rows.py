"""Vectors of a file as the rows of a table.

Shape suffixes: V rows of the table, D columns, N rows in hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.exchange.content import VectorRows
from embsnap.formats.exchange.elements import narrowed, numpy_dtype
from embsnap.kernels.hashing import row_keys
from embsnap.ops.warmstart.initial_rows import InitialRows

__all__ = ["ImportedRows"]


@dataclass(frozen=True, slots=True, eq=False)
class ImportedRows:
    """A table's rows; those that the file has no vector for are drawn."""

    where: str
    """URI of the file."""
    vectors: VectorRows
    row_V: NDArray[np.int64]
    """Vector of each row, or -1."""
    stored_dtype: str
    """Of the vectors."""
    dtype: np.dtype[Any]
    initial: InitialRows | None
    """None draws zeros."""

    @property
    def num_rows(self) -> int:
        """V."""
        return len(self.row_V)

    @property
    def dim(self) -> int:
        """D."""
        return self.vectors.dim

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND` with the rows `[start, end)`."""
        row_N = self.row_V[start:end]
        given_N = row_N >= 0
        if given_N.all():
            self._gather(row_N, out_ND)
            return
        found_ND = np.empty((int(np.count_nonzero(given_N)), self.dim), self.dtype)
        self._gather(row_N[given_N], found_ND)
        out_ND[given_N] = found_ND
        keys_N = row_keys(start, end)[~given_N]
        out_ND[~given_N] = 0 if self.initial is None else self.initial.draw(keys_N, self.dim, self.dtype)

    def _gather(self, row_N: NDArray[np.int64], out_ND: NDArray[Any]) -> None:
        if not len(row_N):
            return
        if self.dtype.name == self.stored_dtype:
            self.vectors.gather(row_N, out_ND)
            return
        stored_ND = np.empty(out_ND.shape, numpy_dtype(self.stored_dtype))
        self.vectors.gather(row_N, stored_ND)
        out_ND[...] = narrowed(stored_ND, self.dtype.name, self.where)

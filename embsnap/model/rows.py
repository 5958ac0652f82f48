"""What hands out rows: the one interface between readers, transforms and sinks.

Shape suffixes: V rows of a table, D embedding_dim, N rows in hand.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["GatherSource", "RowSource"]


class RowSource(Protocol):
    """A logical `[V, D]` array that is produced by ranges of rows, in any order, from any thread."""

    @property
    def num_rows(self) -> int:
        """V."""

    @property
    def dim(self) -> int:
        """D; 1 for a one-dimensional array of V values."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements; bfloat16 is `ml_dtypes.bfloat16`."""

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND`, C-contiguous `[end - start, D]` of `dtype`, with the rows `[start, end)`.

        Raises:
            SnapshotError: An object is shorter than the metadata says.
            StorageError: The storage failed.
        """


class GatherSource(RowSource, Protocol):
    """A row source that hands out rows by index too."""

    def gather(self, rows_N: NDArray[np.int64], out_ND: NDArray[Any]) -> None:
        """Fill row i of `out_ND` with row `rows_N[i]`; rows of `out_ND` where that is negative stay as they are."""

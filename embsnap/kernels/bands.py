"""Rows where they lie in memory, in one or more runs: the mapped pieces of an array.

Shape suffixes: P bands of rows, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, primitive

__all__ = ["RowBands", "band_of", "bands_per_row"]


@dataclass(frozen=True, slots=True, eq=False)
class RowBands:
    """Bands of rows, one after the other, each contiguous; what kernels need to find any row."""

    bands: tuple[NDArray[Any], ...]
    """`[R, D]` each, and the memory of all."""
    anchor_D: NDArray[Any]
    """A row's worth of memory, from which distances are measured."""
    starts_P: NDArray[np.int64]
    """First row of each band."""
    bases_P: NDArray[np.int64]
    """Row r of band p begins `bases_P[p] + r * row_bytes` bytes behind the anchor."""
    num_rows: int

    @classmethod
    def of(cls, bands: Sequence[NDArray[Any]]) -> RowBands:
        """From arrays of one dtype and width, none of them empty unless there is one alone; copied if not contiguous.

        Raises:
            ValueError: They are of several dtypes or widths.
        """
        rows = tuple(frozen(band, bands[0].dtype) for band in bands)
        dim, itemsize = rows[0].shape[1], rows[0].dtype.itemsize
        if any(band.dtype != rows[0].dtype or band.shape[1] != dim for band in bands):
            raise ValueError(f"bands of {[(band.dtype, band.shape) for band in bands]}")
        anchor_D = rows[0][0] if len(rows[0]) else frozen(np.empty(dim, rows[0].dtype), rows[0].dtype)
        lengths = np.array([len(band) for band in rows], np.int64)
        starts_P = np.cumsum(lengths) - lengths
        addresses_P = np.array([band.ctypes.data for band in rows], np.int64)
        bases_P = addresses_P - anchor_D.ctypes.data - starts_P * dim * itemsize
        return cls(rows, anchor_D, starts_P, bases_P, int(lengths.sum()))

    @property
    def dim(self) -> int:
        """D."""
        return len(self.anchor_D)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return self.anchor_D.dtype

    @property
    def parts(self) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """What a kernel takes."""
        return self.anchor_D, self.starts_P, self.bases_P

    def rows(self, start: int, end: int) -> NDArray[Any] | None:
        """The rows `[start, end)` as read-only `[N, D]`; None where they lie in several bands."""
        band = int(np.searchsorted(self.starts_P, start, side="right")) - 1
        first = start - int(self.starts_P[band])
        return self.bands[band][first : first + end - start] if first + end - start <= len(self.bands[band]) else None


@primitive
def bands_per_row(starts_P: Any) -> Any:
    """What turns a row into a guess of its band."""
    return 1.0 / max(1, starts_P[min(1, len(starts_P) - 1)])


@primitive
def band_of(row: Any, starts_P: Any, per_row: Any) -> Any:
    """The band of a row that is in one; the guess is right where all bands are as long as the first."""
    num_bands = len(starts_P)
    band = min(int(row * per_row), num_bands - 1)
    if starts_P[band] > row or (band + 1 < num_bands and starts_P[band + 1] <= row):
        band, end = 0, num_bands
        while end - band > 1:
            middle = (band + end) >> 1
            if starts_P[middle] <= row:
                band = middle
            else:
                end = middle
    return band

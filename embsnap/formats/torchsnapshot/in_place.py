"""Rows used where the storage has mapped them, without a copy.

Shape suffixes: N rows in hand, D embedding_dim, P pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.sources import PieceSource
from embsnap.kernels.bands import RowBands

__all__ = ["RowsInPlace", "rows_in_place"]


class RowsInPlace:
    """The mapped pieces of an array, in the order of their rows. Whoever looks at rows of them says which.

    Attributes:
        bands: The rows.
    """

    def __init__(self, sources_P: Sequence[PieceSource], mapped_P: Sequence[NDArray[Any]]) -> None:
        """Each piece, and its rows in memory."""
        self.bands = RowBands.of(mapped_P)
        self._sources_P, self._starts_P = sources_P, self.bands.starts_P

    def read(self, start: int, end: int) -> NDArray[Any] | None:
        """The rows `[start, end)`, read-only, of which there is at least one; None where they lie in several pieces.

        Raises:
            SnapshotError: `checksum-mismatch`.
        """
        rows_ND = self.bands.rows(start, end)
        if rows_ND is not None:
            self.passed(start, end)
        return rows_ND

    def passed(self, start: int, end: int) -> None:
        """The rows `[start, end)` are looked at, in order.

        Raises:
            SnapshotError: `checksum-mismatch`.
        """
        for index in range(self._starts_P.searchsorted(start, "right") - 1, self._starts_P.searchsorted(end)):
            row, band = int(self._starts_P[index]), self.bands.bands[index]
            first, last = max(start, row) - row, min(end, row + len(band)) - row
            if first < last:
                self._sources_P[index].passed(first, band[first:last].view(np.uint8))

    def picked(self, counts_P: NDArray[np.int64]) -> None:
        """So many rows of each piece are looked at, in any order.

        Raises:
            SnapshotError: `checksum-mismatch`.
        """
        for source, count in zip(self._sources_P, counts_P.tolist(), strict=True):
            if count:
                source.picked(count)


def rows_in_place(sources: Sequence[PieceSource], shape: tuple[int, int], dtype: np.dtype[Any]) -> RowsInPlace | None:
    """The pieces of an array of this shape, if all are mapped, aligned, as wide as it, and one after the other.

    Raises:
        SnapshotError: An object is not what the manifest says.
        StorageError: The storage failed.
    """
    ordered = sorted((source for source in sources if source.num_rows), key=lambda source: source.row)
    ends = [source.row + source.num_rows for source in ordered]
    if not all(shape) or [source.row for source in ordered] != [0, *ends[:-1]] or ends[-1] != shape[0]:
        return None
    if any(source.num_columns != shape[1] for source in ordered):
        return None
    mapped_P: list[NDArray[Any]] = []
    for source in ordered:
        rows = source.mapped()
        if rows is None or rows.ctypes.data % dtype.itemsize:
            return None
        mapped_P.append(rows.view(dtype))
    return RowsInPlace(ordered, mapped_P)

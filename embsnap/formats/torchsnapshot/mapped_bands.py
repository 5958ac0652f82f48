"""Rows by index out of pieces that are mapped into memory: one pass over the rows, however many pieces there are.

Shape suffixes: N rows in hand, B bands of rows.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.bands import Bands
from embsnap.kernels.gather import NO_ROWS, UNKNOWN, gather_bands

__all__ = ["MappedBands"]

_REPORTS = 64
"""So many times it is told, at most, that rows of a piece were picked, while all of them are."""


class MappedBands:
    """The bands of some columns of an array. Safe between threads; a piece is looked at when one of its rows is asked
    for."""

    def __init__(self, bands: Bands) -> None:
        sources = bands.sources_B
        self._bands = bands
        self._addresses_B = np.array([NO_ROWS if source is None else UNKNOWN for source in sources], np.int64)
        self._num_rows_B = np.array([1 if source is None else source.num_rows for source in sources], np.int64)
        self._row_bytes = max((source.row_bytes for source in sources if source is not None), default=0)
        self._lock = threading.Lock()
        self._picked_B = np.zeros(len(sources), np.int64)
        """Rows that were copied since their piece was told so."""

    def gather(self, rows_N: NDArray[np.int64], out: NDArray[np.uint8], offset: int) -> bool:
        """Copy row `rows_N[i]` into row i of `out`, from `offset` on; negative rows are passed over.

        Args:
            rows_N: `int64[N]`, below the number of rows of the array.
            out: C-contiguous `uint8[N, bytes of a whole row]`.
            offset: Where in a row of `out` these columns begin, in bytes.

        Returns:
            Whether all were mapped; else some are missing in `out`.

        Raises:
            SnapshotError: As for `PieceSource.mapped`; or `checksum-mismatch`.
        """
        counts_B, done = np.zeros(len(self._picked_B), np.int64), 0
        where = (self._bands.starts_B, self._addresses_B, self._row_bytes, out, offset, counts_B)
        while (done := gather_bands(rows_N, done, *where)) < len(rows_N):
            if not self._find(int(rows_N[done])):
                return False
        self._note(counts_B)
        return True

    def count(self) -> None:
        """Have every piece know of all rows that were copied."""
        with self._lock:
            picked_B, self._picked_B = self._picked_B, np.zeros_like(self._picked_B)
        for band in np.flatnonzero(picked_B).tolist():
            source = self._bands.sources_B[band]
            assert source is not None
            source.checks.count(int(picked_B[band]))

    def _find(self, row: int) -> bool:
        band = int(np.searchsorted(self._bands.starts_B, row, side="right")) - 1
        source = self._bands.sources_B[band]
        mapped = None if source is None else source.mapped()
        if mapped is None:
            return False
        self._addresses_B[band] = mapped.ctypes.data  # the piece's object stays mapped as long as it is there
        return True

    def _note(self, counts_B: NDArray[np.int64]) -> None:
        with self._lock:
            self._picked_B += counts_B
            due = np.flatnonzero(self._picked_B * _REPORTS >= self._num_rows_B)
            picked = self._picked_B[due].tolist()
            self._picked_B[due] = 0
        for band, num_rows in zip(due.tolist(), picked, strict=True):
            source = self._bands.sources_B[band]
            assert source is not None
            source.picked(num_rows)

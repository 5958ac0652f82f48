"""Rows of a remote table that move far: fetched once, in the order they are stored, before the first is asked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.model.progress import Progress

__all__ = ["FetchedRows"]


class FetchedRows:
    """The rows of one array by index, from a temporary file that is there from the first of them to the last."""

    def __init__(self, reader: ArrayReader, wanted: Sequence[NDArray[np.int64]], num_rows: int, progress: Progress):
        """Nothing is fetched yet.

        Args:
            reader: Of the array.
            wanted: As for `ArrayReader.stage`.
            num_rows: How many will be asked for in all, each as often as it is.
            progress: Is told of bytes.
        """
        self._reader, self._wanted, self._progress = reader, wanted, progress
        self._num_left = num_rows
        self._is_staged = False
        self._lock = threading.Lock()

    def gather(self, rows_N: NDArray[np.int64], out_ND: NDArray[np.generic]) -> None:
        """As `ArrayReader.gather`."""
        with self._lock:
            if self._num_left > 0 and not self._is_staged:
                self._reader.stage(self._wanted, progress=self._progress)
                self._is_staged, self._wanted = True, ()
        self._reader.gather(rows_N, out_ND)
        with self._lock:
            self._num_left -= int(np.count_nonzero(rows_N >= 0))
            if self._num_left <= 0:
                self._release()

    def close(self) -> None:
        """No more is asked for."""
        with self._lock:
            self._num_left = 0
            self._release()

    def _release(self) -> None:
        if self._is_staged:
            self._reader.unstage()
            self._is_staged = False

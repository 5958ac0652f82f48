"""Fetching old rows in advance while a table is written block by block from storage that cannot be mapped.

Shape suffixes: V rows of the new table.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.model.progress import SILENT, Progress

__all__ = ["Fetching"]


class Fetching:
    """Stages the rows of one old array before the first block that needs them, and lets go of them after the last.

    It is a context manager: outside of its block it does nothing, since whoever reads a few rows only had better ask
    for these.
    """

    def __init__(
        self, old: ArrayReader, wanted: Sequence[NDArray[np.int64]] | None, num_rows: int, progress: Progress = SILENT
    ) -> None:
        """Nothing is fetched yet.

        Args:
            old: The array.
            wanted: As for `ArrayReader.stage`.
            num_rows: V: the rows to be read within the block, each once.
            progress: Is told of bytes.
        """
        self._old, self._wanted, self._num_rows, self._progress = old, wanted, num_rows, progress
        self._lock = threading.Lock()
        self._num_left = 0
        self._is_staged = False

    def limit(self, wanted: Sequence[NDArray[np.int64]], num_rows: int) -> None:
        """Let this process read `num_rows` of the new rows only, which want those old ones."""
        self._wanted, self._num_rows = wanted, num_rows

    def __enter__(self) -> None:
        self._num_left = self._num_rows

    def __exit__(self, *error: object) -> None:
        self._num_left = 0
        self._release()

    @contextmanager
    def reading(self, num_rows: int) -> Iterator[None]:
        """Around the reading of so many of the new rows, from any thread."""
        with self._lock:
            if self._num_left > 0 and not self._is_staged:
                self._old.stage(self._wanted, progress=self._progress)
                self._is_staged = True
        yield
        with self._lock:
            self._num_left -= num_rows
            if self._num_left <= 0:
                self._release()

    def _release(self) -> None:
        if self._is_staged:
            self._old.unstage()
            self._is_staged = False

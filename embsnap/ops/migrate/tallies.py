"""Rows that a step replaced, counted while they are written.

Shape suffixes: V rows of the table at that step, N rows in hand.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tally"]


class Tally:
    """Which rows were replaced so far, each counted once however often it is read; kept by all threads together."""

    def __init__(self, num_rows: int) -> None:
        """Of a table of `num_rows` rows."""
        self._num_rows, self._lock = num_rows, threading.Lock()
        self._is_replaced_V: NDArray[np.bool_] | None = None

    @property
    def num_rows(self) -> int:
        """How many they are."""
        return 0 if self._is_replaced_V is None else int(self._is_replaced_V.sum())

    def add(self, rows_N: NDArray[np.int64]) -> None:
        """Count these too."""
        with self._lock:
            if self._is_replaced_V is None:
                self._is_replaced_V = np.zeros(self._num_rows, np.bool_)
            self._is_replaced_V[rows_N] = True

    def others(self) -> NDArray[np.int64]:
        """All other rows, ascending."""
        return np.arange(self._num_rows) if self._is_replaced_V is None else np.flatnonzero(~self._is_replaced_V)

    def reset(self) -> None:
        """Forget all."""
        with self._lock:
            self._is_replaced_V = None

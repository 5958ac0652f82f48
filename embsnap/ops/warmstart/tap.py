"""What passes by while a table is read: the norms of its rows, and how long it takes.

Shape suffixes: N rows in hand, D embedding_dim.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.sweeping import Put
from embsnap.kernels.reduce import row_norms
from embsnap.model.rows import RowSource
from embsnap.ops.warmstart.rows import WarmRows

__all__ = ["Tap"]


class Tap:
    """Passes a table's rows through and keeps their norms and times.

    Sums are kept per block and added in the order of the rows, so that threads change nothing.
    """

    def __init__(self, source: WarmRows, *, with_norms: bool) -> None:
        self.num_rows, self.dim, self.dtype = source.num_rows, source.dim, source.dtype
        self._source = source
        self._with_norms = with_norms
        self._sums: dict[int, float] = {}
        self._lock = threading.Lock()
        self._started: float | None = None
        self._ended = 0.0

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """As the source's."""
        began = monotonic()
        self._source.read(start, end, out_ND)
        norms = float(row_norms(out_ND).sum()) if self._with_norms else 0.0
        with self._lock:
            self._sums[start] = norms
            self._note(began)
            self._note(monotonic())

    @property
    def is_swept(self) -> bool:
        """As the source's."""
        return self._source.is_swept

    def sweep(self, start: int, end: int, put: Put, *, threads: int, block_bytes: int) -> None:
        """As the source's; norms are missing until `add_norms`."""
        self._note(monotonic())
        self._source.sweep(start, end, put, threads=threads, block_bytes=block_bytes)
        self._note(monotonic())

    @property
    def before_cast(self) -> RowSource | None:
        """What a device may read and cast by itself: the source's `before_cast`, where no norms are asked for.

        What is read of it counts in `seconds`. A cast that overflows is for `read` to find.
        """
        old = None if self._with_norms else self._source.before_cast
        return None if old is None else _Timed(old, self._note)

    @property
    def with_norms(self) -> bool:
        """Whether norms are asked for."""
        return self._with_norms

    @property
    def norms(self) -> dict[int, float]:
        """The norms so far: first row of each block → their sum in it."""
        return dict(self._sums)

    def merge_norms(self, norms: dict[int, float]) -> None:
        """Add the norms of blocks that were read elsewhere; those of a block that was read twice are the same."""
        self._sums |= norms

    def add_norms(self, start: int, rows: RowSource, block_bytes: int) -> None:
        """Take the norms of the rows from `start` on, which a sweep has put into `rows`, if they are asked for."""
        step = max(1, block_bytes // max(1, self.dim * self.dtype.itemsize))
        for first in range(0, rows.num_rows if self._with_norms else 0, step):
            rows_ND = np.empty((min(step, rows.num_rows - first), self.dim), self.dtype)
            rows.read(first, first + len(rows_ND), rows_ND)
            self._sums[start + first] = float(row_norms(rows_ND).sum())

    def _note(self, now: float) -> None:
        self._started = now if self._started is None else min(now, self._started)
        self._ended = max(self._ended, now)

    @property
    def seconds(self) -> float:
        """From the first row asked for to the last one handed out."""
        return 0.0 if self._started is None else self._ended - self._started

    @property
    def mean_norm(self) -> float | None:
        """Mean L2 norm of all rows; None where norms were not asked for, or there are no rows."""
        if not self._with_norms or not self.num_rows:
            return None
        return sum(self._sums[start] for start in sorted(self._sums)) / self.num_rows


@dataclass(frozen=True, slots=True, eq=False)
class _Timed:
    """A row source that tells when it was read."""

    source: RowSource
    note: Callable[[float], None]

    @property
    def num_rows(self) -> int:
        return self.source.num_rows

    @property
    def dim(self) -> int:
        return self.source.dim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        self.note(monotonic())
        self.source.read(start, end, out_ND)
        self.note(monotonic())

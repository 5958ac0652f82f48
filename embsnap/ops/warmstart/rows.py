"""The rows of a new table: carried by a row map, cast, or drawn.

Shape suffixes: V rows of the new table, D embedding_dim, N rows in hand, C column shards.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.kernels.hashing import row_keys
from embsnap.kernels.reduce import row_norms
from embsnap.model.rows import RowSource
from embsnap.ops.warmstart.initial_rows import InitialRows

__all__ = ["CarriedState", "FoldedState", "Tap", "WarmRows"]


@dataclass(frozen=True, slots=True, eq=False)
class WarmRows:
    """A new table: old rows where the row map names one, drawn rows elsewhere."""

    table: str
    num_rows: int
    dim: int
    dtype: np.dtype[Any]
    initial: InitialRows
    old: ArrayReader | None = None
    """None for a table that starts cold."""
    row_V: NDArray[np.int64] | None = None
    """Old row of each new row, or -1; None carries every row by position."""
    new_rows_N: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows of entities without an old row, ascending."""
    new_keys_N: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    """A key of each such entity's id."""
    donor_row_N: NDArray[np.int64] | None = None
    """Old row that each such entity starts from, or -1, where the table has a donor column."""
    zero_rows: range = range(0)
    """Reserved rows that are filled with zeros."""

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND` with the new rows `[start, end)`.

        Raises:
            IncompatibleError: A carried value is finite in the snapshot and not in `dtype` (`cast-overflow`).
        """
        if self.old is None:
            self._draw(start, np.arange(end - start), out_ND)
            return
        self._carry(self.old, start, end, out_ND)
        if self.row_V is not None:
            self._draw(start, np.flatnonzero(self.row_V[start:end] < 0), out_ND)

    def _carry(self, old: ArrayReader, start: int, end: int, out_ND: NDArray[Any]) -> None:
        same = old.dtype == self.dtype
        rows_ND = out_ND if same else np.zeros((end - start, self.dim), old.dtype)
        if self.row_V is None:
            old.read(start, end, rows_ND)
        else:
            old.gather(self.row_V[start:end], rows_ND)
        if not same:
            self._cast(rows_ND, start, out_ND)

    def _cast(self, rows_ND: NDArray[Any], start: int, out_ND: NDArray[Any]) -> None:
        with np.errstate(over="ignore"):
            out_ND[...] = rows_ND.astype(self.dtype)
        overflowed = ~np.isfinite(out_ND.astype(np.float32)) & np.isfinite(rows_ND.astype(np.float64))
        if overflowed.any():
            row, column = (int(index) for index in np.argwhere(overflowed)[0])
            raise IncompatibleError(
                ErrorKind.CAST_OVERFLOW,
                f"{int(overflowed.sum())} finite values of one block do not fit {self.dtype.name}",
                where=f"table {self.table}, new row {start + row}, column {column}",
                expected=f"values within ±{_largest(self.dtype):.6g}",
                found=f"{float(rows_ND[row, column]):.6g}",
                hint="use data_type bf16 or the snapshot's own dtype",
            )

    def _draw(self, start: int, positions_N: NDArray[np.intp], out_ND: NDArray[Any]) -> None:
        if not len(positions_N):
            return
        end = start + len(out_ND)
        keys = row_keys(start, end)
        first, last = np.searchsorted(self.new_rows_N, (start, end))
        keys[self.new_rows_N[first:last] - start] = self.new_keys_N[first:last]
        out_ND[positions_N] = self.initial.draw(keys[positions_N], self.dim, self.dtype)
        if self.old is not None and self.donor_row_N is not None:
            self._donate(self.old, self.new_rows_N[first:last] - start, self.donor_row_N[first:last], out_ND)
        zeros = range(max(self.zero_rows.start, start), min(self.zero_rows.stop, end))
        if zeros:
            out_ND[zeros.start - start : zeros.stop - start] = 0

    def _donate(
        self, old: ArrayReader, positions_N: NDArray[Any], donor_row_N: NDArray[np.int64], out_ND: NDArray[Any]
    ) -> None:
        found_N = donor_row_N >= 0
        rows_ND = np.empty((int(found_N.sum()), self.dim), old.dtype)
        old.gather(donor_row_N[found_N], rows_ND)
        out_ND[positions_N[found_N]] = self.initial.clip(rows_ND).astype(self.dtype)


def _largest(dtype: np.dtype[Any]) -> float:
    return 65504.0 if dtype == np.float16 else float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class CarriedState:
    """An optimizer state that follows its table's rows; other rows get the initial state, zero."""

    num_rows: int
    dim: int
    dtype: np.dtype[Any]
    old: ArrayReader
    row_V: NDArray[np.int64] | None
    """As the table's; None carries by position."""

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND` with the state of the new rows `[start, end)`."""
        if self.row_V is None:
            self.old.read(start, end, out_ND)
            return
        out_ND[...] = 0
        self.old.gather(self.row_V[start:end], out_ND)


@dataclass(frozen=True, slots=True, eq=False)
class FoldedState:
    """Row-wise state of a column-wise table: C runs of one value per old row, folded to their mean.

    Each column shard kept its own sum of squared gradients over its own columns, divided by its own width; with
    equal widths their mean is what one shard of all columns would have kept.
    """

    num_rows: int
    num_old_rows: int
    dtype: np.dtype[Any]
    old: ArrayReader
    row_V: NDArray[np.int64] | None
    dim: int = 1

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND` `[end - start, 1]` with the state of the new rows `[start, end)`."""
        row_N = np.arange(start, end) if self.row_V is None else self.row_V[start:end]
        carried_N = row_N >= 0
        num_shards = self.old.num_rows // self.num_old_rows
        sum_N = np.zeros((end - start, 1), np.float64)
        shard_N = np.zeros((end - start, 1), self.old.dtype)
        for shard in range(num_shards):
            self.old.gather(np.where(carried_N, row_N + shard * self.num_old_rows, -1), shard_N)
            sum_N += shard_N
        out_ND[...] = (sum_N / num_shards).astype(self.dtype)


class Tap:
    """Passes a table's rows through and keeps their norms and times.

    Sums are kept per block and added in the order of the rows, so that threads change nothing.
    """

    def __init__(self, source: RowSource, *, with_norms: bool) -> None:
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
            self._started = began if self._started is None else min(began, self._started)
            self._ended = max(self._ended, monotonic())

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

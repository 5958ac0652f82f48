"""The rows of a new table: carried by a row map, cast, or drawn.

Shape suffixes: V rows of the new table, D embedding_dim, N rows in hand, M of them out of one stored block.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.formats.torchsnapshot.sweeping import Put
from embsnap.kernels.hashing import row_keys
from embsnap.kernels.threads import run
from embsnap.ops.warmstart.casting import cast_rows
from embsnap.ops.warmstart.fetching import Fetching
from embsnap.ops.warmstart.initial_rows import InitialRows

__all__ = ["WarmRows"]


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
    fetching: Fetching | None = None
    """Of the old rows, where they follow a row map."""

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND` with the new rows `[start, end)`.

        Raises:
            IncompatibleError: `cast-overflow`, `not-representable`: `dtype` does not hold a value, carried or drawn.
        """
        if self.old is None or self.row_V is None:
            self._fill(start, end, out_ND)
            return
        with nullcontext() if self.fetching is None else self.fetching.reading(end - start):
            self._fill(start, end, out_ND)

    @property
    def before_cast(self) -> ArrayReader | None:
        """The old rows, where all that happens to them is that they are cast to `dtype`, each in its place."""
        return self.old if self.row_V is None and self.old is not None and self.old.dtype != self.dtype else None

    def wanted(self, start: int, end: int) -> list[NDArray[np.int64]]:
        """The old rows that the new rows `[start, end)` are made of, where they follow a row map; negative: none."""
        if self.row_V is None:
            return []
        first, last = np.searchsorted(self.new_rows_N, (start, end))
        donors = [] if self.donor_row_N is None else [self.donor_row_N[first:last]]
        return [self.row_V[start:end], *donors]

    @property
    def is_swept(self) -> bool:
        """Whether `sweep` is the way to have all rows: old ones follow a row map, out of storage that cannot map."""
        return self.old is not None and self.row_V is not None and not self.old.is_mapped

    def sweep(self, start: int, end: int, put: Put, *, threads: int, block_bytes: int) -> None:
        """Hand out the new rows `[start, end)` once, in the order in which the old ones are stored.

        Args:
            start: First new row.
            end: One past the last.
            put: As for `ArrayReader.sweep`; places are counted from `start`.
            threads: That draw rows.
            block_bytes: Of rows, handled at a time.

        Raises:
            IncompatibleError: As for `read`.
        """
        assert self.old is not None
        assert self.row_V is not None
        same = self.old.dtype == self.dtype
        self.old.sweep(self.row_V[start:end], put if same else partial(self._put_cast, start, put))
        if self.donor_row_N is not None:
            first, last = np.searchsorted(self.new_rows_N, (start, end))
            self.old.stage([self.donor_row_N[first:last]])
        step = max(1, block_bytes // max(1, self.dim * self.dtype.itemsize))
        blocks = [(row, min(row + step, end)) for row in range(start, end, step)]
        run([partial(self._put_drawn, start, put, *block) for block in blocks], threads)
        self.old.unstage()

    def _put_cast(
        self, origin: int, put: Put, places_M: NDArray[np.int64], rows_Md: NDArray[Any], first_column: int
    ) -> None:
        put(places_M, self._cast(rows_Md, lambda row: origin + int(places_M[row]), first_column), first_column)

    def _put_drawn(self, origin: int, put: Put, start: int, end: int) -> None:
        assert self.row_V is not None
        positions_N = np.flatnonzero(self.row_V[start:end] < 0)
        if len(positions_N):
            rows_ND = np.empty((end - start, self.dim), self.dtype)
            self._draw(start, positions_N, rows_ND)
            put(positions_N + (start - origin), rows_ND[positions_N], 0)

    def _fill(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
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
            out_ND[...] = self._cast(rows_ND, lambda row: start + row, 0)

    def _cast(self, rows_ND: NDArray[Any], new_row: Callable[[int], int], first_column: int) -> NDArray[Any]:
        return cast_rows(
            rows_ND,
            self.dtype,
            place_of=lambda row, column: f"table {self.table}, new row {new_row(row)}, column {first_column + column}",
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
        out_ND[positions_N[found_N]] = self.initial.donate(rows_ND, self.dtype)

"""Rows of a stored array: by slice, by index, or as a stream of blocks.

Shape suffixes: V rows of the array, D its columns, N rows in hand, P pieces, B bands of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.dtypes import to_numpy
from embsnap.formats.torchsnapshot.scattered import scatter_rows
from embsnap.formats.torchsnapshot.sources import PieceSource, SourceCache
from embsnap.kernels.gather import split_by_band
from embsnap.model.table import Piece, StoredArray
from embsnap.storage.base import Store

__all__ = ["ArrayReader"]

_DEFAULT_BLOCK_BYTES = 1 << 25


@dataclass(frozen=True, slots=True, eq=False)
class _Band:
    """The pieces that hold the same columns, in row order; between them there may be rows that others hold."""

    first_column: int
    starts_B: NDArray[np.int64]
    """Bands of rows, covering all rows from 0 on."""
    sources_B: Sequence[PieceSource | None]
    """The piece of each band, or None for rows that other pieces hold."""

    def split(self, rows_N: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """As `split_by_band`, without a pass over the rows where one band holds them all."""
        if len(self.sources_B) == 1 and (len(rows_N) == 0 or int(rows_N.min()) >= 0):
            return np.arange(len(rows_N)), rows_N, np.array([0, len(rows_N)])
        return split_by_band(rows_N, self.starts_B)


class ArrayReader:
    """A stored array as rows. Safe to use from several threads; nothing is read before the first row is asked for.

    Implements `embsnap.model.rows.RowSource`. An array of one dimension has one column, a scalar is one row.
    """

    def __init__(self, store: Store, array: StoredArray) -> None:
        """Read `array`, whose pieces lie in `store` and cover it exactly.

        Args:
            store: Of the snapshot.
            array: From `Snapshot.table` or `Snapshot.array`.

        Raises:
            UsageError: It has more than two dimensions.
        """
        self.array = array
        self._num_rows, self._dim = _as_matrix(array)
        self._dtype = to_numpy(array.dtype)
        cache = SourceCache(store, array.path)
        self._sources = [PieceSource(cache, *_placed(piece), piece, self._dtype) for piece in array.pieces]
        self._starts_P = np.array([source.row for source in self._sources], np.int64)
        self._ends_P = np.array([source.row + source.num_rows for source in self._sources], np.int64)
        self._groups = list(_column_groups(self._sources, self._num_rows))

    @property
    def num_rows(self) -> int:
        """V."""
        return self._num_rows

    @property
    def dim(self) -> int:
        """D."""
        return self._dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return self._dtype

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND`, C-contiguous `[end - start, D]` of `dtype`, with the rows `[start, end)`.

        Rows of pieces that span all columns go from storage straight into `out_ND`.

        Raises:
            UsageError: The range is not within `[0, V)`, or `out_ND` has another shape, dtype or layout.
            SnapshotError: `missing-object` or `short-object`: an object is not what the manifest says.
            StorageError: The storage failed.
        """
        if not 0 <= start <= end <= self._num_rows:
            raise self._misuse("the rows", f"a range within [0, {self._num_rows})", f"[{start}, {end})")
        self._check_out(out_ND, end - start)
        if start == end:
            return
        for index in np.flatnonzero((self._starts_P < end) & (self._ends_P > start)):
            source = self._sources[index]
            first, last = max(start, source.row), min(end, source.row + source.num_rows)
            source.read(first - source.row, last - source.row, out_ND[first - start : last - start])

    def gather(self, rows_N: NDArray[np.int64], out_ND: NDArray[Any]) -> None:
        """Fill row i of `out_ND` with row `rows_N[i]`, in any order, with repeats.

        Rows of `out_ND` where `rows_N` is negative stay as they are. Storage that maps into memory is read row by row;
        other storage by ranges that join neighbouring rows.

        Args:
            rows_N: `int64[N]`, below V.
            out_ND: C-contiguous `[N, D]` of `dtype`.

        Raises:
            UsageError: A row is beyond the array, or an argument has another shape, dtype or layout.
            SnapshotError: As for `read`.
            StorageError: The storage failed.
        """
        self._check_out(out_ND, len(rows_N))
        rows_N = np.ascontiguousarray(rows_N, np.int64)
        if len(rows_N) and int(rows_N.max()) >= self._num_rows:
            raise self._misuse("the rows", f"rows below {self._num_rows}", int(rows_N.max()))
        if self._dim == 0:
            return
        out_bytes = out_ND.view(np.uint8).reshape(len(rows_N), self._dim * self._dtype.itemsize)
        for group in self._groups:
            positions_M, local_rows_M, bounds = group.split(rows_N)
            offset = group.first_column * self._dtype.itemsize
            for source, (begin, end) in zip(group.sources_B, pairwise(bounds.tolist()), strict=True):
                if source is not None and begin < end:
                    scatter_rows(source, local_rows_M[begin:end], positions_M[begin:end], out_bytes, offset)

    def blocks(self, budget_bytes: int = _DEFAULT_BLOCK_BYTES) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows in order, as `(start, rows_ND)`, with a new array for each block.

        Args:
            budget_bytes: What two blocks (the one in use and the one being read) may take together; a block has at
                least one row.
        """
        row_bytes = max(1, self._dim * self._dtype.itemsize)
        num_block_rows = max(1, budget_bytes // 2 // row_bytes)
        for start in range(0, self._num_rows, num_block_rows):
            end = min(start + num_block_rows, self._num_rows)
            rows_ND = np.empty((end - start, self._dim), self._dtype)
            self.read(start, end, rows_ND)
            yield start, rows_ND

    def _check_out(self, out_ND: NDArray[Any], num_rows: int) -> None:
        right = out_ND.shape == (num_rows, self._dim) and out_ND.dtype == self._dtype
        if not (right and out_ND.flags.c_contiguous and out_ND.flags.writeable):
            expected = f"a writable C-contiguous [{num_rows}, {self._dim}] of {self._dtype}"
            found = f"{list(out_ND.shape)} of {out_ND.dtype} with strides {out_ND.strides}"
            raise self._misuse("the destination", expected, found)

    def _misuse(self, what: str, expected: str, found: object) -> UsageError:
        problem = f"{what} for reading it cannot be right"
        return UsageError(ErrorKind.BAD_OPTION, problem, where=self.array.path, expected=expected, found=found)


def _as_matrix(array: StoredArray) -> tuple[int, int]:
    if len(array.shape) > 2:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "has no rows",
            where=array.path,
            expected="at most two dimensions",
            found=f"the shape {list(array.shape)}",
        )
    num_rows, dim = (*array.shape, 1, 1)[:2]
    return num_rows, dim


def _placed(piece: Piece) -> tuple[int, int, int, int]:
    """First row and column of a piece, and how many of each it has."""
    row, column = (*piece.offsets, 0, 0)[:2]
    num_rows, num_columns = (*piece.sizes, 1, 1)[:2]
    assert prod(piece.sizes) == num_rows * num_columns
    return row, column, num_rows, num_columns


def _column_groups(sources: Sequence[PieceSource], num_rows: int) -> Iterator[_Band]:
    grouped: dict[tuple[int, int], list[PieceSource]] = {}
    for source in sources:
        grouped.setdefault((source.column, source.num_columns), []).append(source)
    for (column, _), members in sorted(grouped.items()):
        starts: list[int] = []
        bands: list[PieceSource | None] = []
        end = 0
        for source in sorted(members, key=lambda source: source.row):
            if source.row > end:
                starts.append(end)
                bands.append(None)
            starts.append(source.row)
            bands.append(source)
            end = source.row + source.num_rows
        if end < num_rows:
            starts.append(end)
            bands.append(None)
        yield _Band(column, np.array(starts, np.int64), bands)

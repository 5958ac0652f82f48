"""Rows that are computed from rows: what a chain of steps is made of.

A step puts nodes on top of what was there and computes nothing. Whoever reads a block of the last node makes the block
pass through the whole chain, in memory: each needed row is read once and written once, however long the chain.

Shape suffixes: V rows of a node, D its columns, N rows in hand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.rows import ArrayReader

__all__ = [
    "FoldedRows",
    "GatherOnly",
    "MappedRows",
    "RowNode",
    "StoredRows",
    "Transform",
    "TransformedRows",
    "ZeroRows",
]

_CHUNK_BYTES = 1 << 19
"""Rows between two nodes: what stays in a core's cache beside what comes out of them."""
_Rows = NDArray[Any]
_Index = NDArray[np.int64]


class GatherOnly(Protocol):
    """Hands out rows by index."""

    def gather(self, rows_N: _Index, out_ND: _Rows) -> None:
        """As `RowNode.gather`."""


class RowNode(ABC):
    """A logical `[V, D]` array, by ranges of rows and by index. Any thread may read it; it never changes.

    Implements `embsnap.model.rows.RowSource`.
    """

    num_rows: int
    dim: int
    dtype: np.dtype[Any]

    @abstractmethod
    def gather(self, rows_N: _Index, out_ND: _Rows) -> None:
        """Fill row i of `out_ND`, C-contiguous, with row `rows_N[i]`; where that is negative it stays as it is."""

    def read(self, start: int, end: int, out_ND: _Rows) -> None:
        """Fill `out_ND` with the rows `[start, end)`."""
        self.gather(np.arange(start, end), out_ND)

    @abstractmethod
    def leaves(self, rows_N: _Index) -> Iterator[tuple[StoredRows, _Index]]:
        """Which stored rows these rows are made of: each stored array with `int64[N]` rows, negative for none."""

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return self.dim * self.dtype.itemsize


class StoredRows(RowNode):
    """The rows of an array in a snapshot.

    Attributes:
        reader: Of the array.
        near: The same rows in another place, where they can be read at random; None where there is none.
    """

    def __init__(self, reader: ArrayReader) -> None:
        self.reader = reader
        self.near: GatherOnly | None = None
        self.num_rows, self.dim, self.dtype = reader.num_rows, reader.dim, reader.dtype

    def gather(self, rows_N: _Index, out_ND: _Rows) -> None:
        """As `ArrayReader.gather`."""
        (self.near or self.reader).gather(rows_N, out_ND)

    def read(self, start: int, end: int, out_ND: _Rows) -> None:
        """As `ArrayReader.read`."""
        self.reader.read(start, end, out_ND)

    def leaves(self, rows_N: _Index) -> Iterator[tuple[StoredRows, _Index]]:
        """These rows."""
        yield self, rows_N


class ZeroRows(RowNode):
    """Nothing but zeros."""

    def __init__(self, num_rows: int, dim: int, dtype: np.dtype[Any]) -> None:
        self.num_rows, self.dim, self.dtype = num_rows, dim, dtype

    def gather(self, rows_N: _Index, out_ND: _Rows) -> None:
        """Zeros."""
        out_ND[rows_N >= 0] = 0

    def read(self, start: int, end: int, out_ND: _Rows) -> None:
        """Zeros."""
        out_ND[...] = 0

    def leaves(self, rows_N: _Index) -> Iterator[tuple[StoredRows, _Index]]:
        """None."""
        return iter(())


class MappedRows(RowNode):
    """The rows of another node in other places, and a second node for rows that take none of them."""

    def __init__(self, inner: RowNode, row_V: _Index, fill: RowNode | None = None) -> None:
        """Row i is row `row_V[i]` of `inner`, or row i of `fill` (zeros without one) where that is negative."""
        self.inner, self.row_V = inner, row_V
        self.num_rows, self.dim, self.dtype = len(row_V), inner.dim, inner.dtype
        self.fill = fill or ZeroRows(len(row_V), inner.dim, inner.dtype)

    def gather(self, rows_N: _Index, out_ND: _Rows) -> None:
        """Rows of both."""
        inner_N = np.where(rows_N >= 0, self.row_V[rows_N], -1) if len(self.row_V) else np.full(len(rows_N), -1)
        self._put(rows_N, inner_N, out_ND)

    def read(self, start: int, end: int, out_ND: _Rows) -> None:
        """Rows of both."""
        self._put(None, self.row_V[start:end], out_ND, start)

    def _put(self, rows_N: _Index | None, inner_N: _Index, out_ND: _Rows, start: int = 0) -> None:
        self.inner.gather(inner_N, out_ND)
        missing_N = inner_N < 0
        if not missing_N.any():
            return
        rows_N = np.arange(start, start + len(inner_N)) if rows_N is None else rows_N
        self.fill.gather(np.where(missing_N, rows_N, -1), out_ND)

    def leaves(self, rows_N: _Index) -> Iterator[tuple[StoredRows, _Index]]:
        """Of both."""
        inner_N = np.where(rows_N >= 0, self.row_V[rows_N], -1) if len(self.row_V) else np.full(len(rows_N), -1)
        yield from self.inner.leaves(inner_N)
        yield from self.fill.leaves(np.where(inner_N < 0, rows_N, -1))


class Transform(ABC):
    """A function of one row at a time, applied to blocks of them."""

    dim: int
    """Of what comes out."""
    dtype: np.dtype[Any]
    """Of what comes out."""

    @abstractmethod
    def apply(self, rows_N: _Index, rows_ND: _Rows, out_ND: _Rows) -> None:
        """Fill `out_ND`, `[N, dim]` of `dtype`, from `rows_ND`, whose row i is row `rows_N[i]`. Both are its own."""


class TransformedRows(RowNode):
    """Each row a function of the row of another node at the same place."""

    def __init__(self, inner: RowNode, transform: Transform) -> None:
        self.inner, self.transform = inner, transform
        self.num_rows, self.dim, self.dtype = inner.num_rows, transform.dim, transform.dtype

    def gather(self, rows_N: _Index, out_ND: _Rows) -> None:
        """The transformed rows."""
        wanted_N = rows_N >= 0
        if wanted_N.all():
            rows_ND = np.empty((len(rows_N), self.inner.dim), self.inner.dtype)
            self.inner.gather(rows_N, rows_ND)
            self.transform.apply(rows_N, rows_ND, out_ND)
        elif wanted_N.any():
            part_ND = np.empty((int(wanted_N.sum()), self.dim), self.dtype)
            self.gather(rows_N[wanted_N], part_ND)
            out_ND[wanted_N] = part_ND

    def read(self, start: int, end: int, out_ND: _Rows) -> None:
        """The transformed rows."""
        step = max(1, _CHUNK_BYTES // max(1, self.inner.row_bytes))
        scratch_ND = np.empty((min(step, end - start), self.inner.dim), self.inner.dtype)
        for first in range(start, end, step):
            last = min(first + step, end)
            rows_ND = scratch_ND[: last - first]
            self.inner.read(first, last, rows_ND)
            self.transform.apply(np.arange(first, last), rows_ND, out_ND[first - start : last - start])

    def leaves(self, rows_N: _Index) -> Iterator[tuple[StoredRows, _Index]]:
        """As the inner node's."""
        return self.inner.leaves(rows_N)


class FoldedRows(RowNode):
    """Row-wise state of a column-wise table: C runs of one value per row, folded to their mean by width.

    Each column shard kept its own sum of squared gradients over its own columns, divided by its own width; weighted by
    these widths, their mean is what one shard of all columns would have kept.
    """

    def __init__(self, inner: RowNode, num_rows: int, widths: Sequence[int]) -> None:
        """`inner` has `C * num_rows` rows of one value, and `widths` the columns of each of the C shards."""
        self.inner, self.num_rows, self.dim, self.dtype = inner, num_rows, 1, inner.dtype
        self.widths = widths

    def gather(self, rows_N: _Index, out_ND: _Rows) -> None:
        """The means."""
        sum_ND, run_ND = np.zeros(out_ND.shape), np.zeros(out_ND.shape, self.dtype)
        for run, width in enumerate(self.widths):
            self.inner.gather(np.where(rows_N >= 0, rows_N + run * self.num_rows, -1), run_ND)
            sum_ND += run_ND.astype(np.float64) * width
        wanted_N = rows_N >= 0
        out_ND[wanted_N] = (sum_ND / sum(self.widths)).astype(self.dtype)[wanted_N]

    def leaves(self, rows_N: _Index) -> Iterator[tuple[StoredRows, _Index]]:
        """All runs."""
        for run in range(len(self.widths)):
            yield from self.inner.leaves(np.where(rows_N >= 0, rows_N + run * self.num_rows, -1))

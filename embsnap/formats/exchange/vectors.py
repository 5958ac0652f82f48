"""Vectors of a file as rows that can be asked for in any order.

Shape suffixes: N rows, D columns, M rows in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.exchange.content import Blocks
from embsnap.formats.exchange.elements import numpy_dtype
from embsnap.storage.base import RangeRead, Store
from embsnap.storage.spool import Spool

__all__ = ["SpooledVectors", "StoredVectors", "spooled"]


class StoredVectors:
    """A matrix whose bytes stand in an object, row after row. It is mapped, or read by ranges."""

    def __init__(self, store: Store, location: str, offset: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        """`shape` elements of `dtype`, of any byte order, from byte `offset` on; the object is that long."""
        self._store, self._location, self._offset, self._dtype = store, location, offset, dtype
        self.num_rows, self.dim = shape

    def prepare(self) -> None:
        """Nothing has to be read in order."""

    def gather(self, rows_N: NDArray[Any], out_ND: NDArray[Any]) -> None:
        """As `VectorRows` has it."""
        mapped = self._mapped
        if mapped is not None:
            out_ND[...] = mapped[rows_N]
            return
        found_ND = np.empty(out_ND.shape, self._dtype)
        runs = list(_runs(rows_N))
        row_bytes = self.dim * self._dtype.itemsize
        view = found_ND.view(np.uint8).reshape(-1).data
        reads = [
            RangeRead(self._offset + int(rows_N[begin]) * row_bytes, view[begin * row_bytes : end * row_bytes])
            for begin, end in runs
        ]
        self._store.read_ranges(self._location, reads)
        out_ND[...] = found_ND

    @cached_property
    def _mapped(self) -> NDArray[Any] | None:
        mapped = self._store.map(self._location)
        if mapped is None:
            return None
        num_elements = self.num_rows * self.dim
        flat: NDArray[Any] = np.frombuffer(mapped, self._dtype, num_elements, self._offset)
        return flat.reshape(self.num_rows, self.dim)


class SpooledVectors:
    """Vectors that come in order alone: they are decoded once, into a temporary file that is mapped."""

    def __init__(self, shape: tuple[int, int], dtype: str, blocks: Callable[[], Blocks]) -> None:
        """`blocks` hands out `shape` values of `dtype` when it is called."""
        self.num_rows, self.dim = shape
        self._dtype, self._blocks = numpy_dtype(dtype), blocks
        self._rows: NDArray[Any] | None = None

    def prepare(self) -> None:
        """Decode them.

        Raises:
            SnapshotError, IncompatibleError: The file is damaged, or holds no such vectors.
            StorageError: `disk-full`: temporary files have no room; or the storage failed.
        """
        with Spool() as spool:
            for rows_ND in self._blocks():
                spool.write(np.ascontiguousarray(rows_ND, self._dtype).view(np.uint8).reshape(-1).data)
            flat: NDArray[Any] = np.frombuffer(spool.view(), self._dtype)
        self._rows = flat.reshape(self.num_rows, self.dim)

    def gather(self, rows_N: NDArray[Any], out_ND: NDArray[Any]) -> None:
        """As `VectorRows` has it."""
        assert self._rows is not None, "prepare comes first"
        out_ND[...] = self._rows[rows_N]


class _Done:
    """Vectors of a spool that is full."""

    def __init__(self, rows_ND: NDArray[Any]) -> None:
        self._rows = rows_ND
        self.num_rows, self.dim = rows_ND.shape

    def prepare(self) -> None:
        pass

    def gather(self, rows_N: NDArray[Any], out_ND: NDArray[Any]) -> None:
        out_ND[...] = self._rows[rows_N]


def spooled(spool: Spool, dim: int) -> _Done:
    """The float32 vectors that a spool took."""
    flat: NDArray[Any] = np.frombuffer(spool.view(), np.float32)
    return _Done(flat.reshape(-1, dim))


def _runs(rows_N: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of positions whose rows follow each other."""
    if not len(rows_N):
        return
    cuts = np.flatnonzero(np.diff(rows_N) != 1) + 1
    bounds = [0, *cuts.tolist(), len(rows_N)]
    yield from pairwise(bounds)

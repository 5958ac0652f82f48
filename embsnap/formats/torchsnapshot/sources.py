"""One piece of an array as a source of bytes: mapped into memory where the storage can, else read by ranges."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError
from embsnap.model.table import Piece
from embsnap.storage.base import RangeRead, Store, check_location

__all__ = ["PieceSource", "SourceCache"]

_SCRATCH_BYTES = 1 << 23
"""Of column shards that cannot be mapped, at most this much is read at a time."""


class SourceCache:
    """The objects that hold an array's pieces, each opened and checked once."""

    def __init__(self, store: Store, where: str) -> None:
        self.store = store
        self.where = where
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._maps: dict[str, memoryview | None] = {}

    def checked_map(self, piece: Piece, num_bytes: int) -> memoryview | None:
        """The object of a piece mapped into memory, or None where the storage cannot; its size is proven first.

        Raises:
            SnapshotError: `missing-object`, `short-object`, or `bad-entry` where the piece is to be the whole object
                and the object is larger.
        """
        with self._lock:
            if piece.location not in self._sizes:
                self._open(piece)
            size, mapped = self._sizes[piece.location], self._maps[piece.location]
        end = piece.start + num_bytes
        if size < end:
            raise self._error(piece, ErrorKind.SHORT_OBJECT, "is too short", f"at least {end} bytes", f"{size} bytes")
        if piece.end is None and size != end:
            raise self._error(piece, ErrorKind.BAD_ENTRY, "has another size", f"{end} bytes", f"{size} bytes")
        return mapped

    def _open(self, piece: Piece) -> None:
        location = check_location(piece.location, where=self.where)
        try:
            mapped = self.store.map(location)
        except NotFoundError:
            raise self._missing(piece) from None
        if mapped is not None:
            self._maps[location], self._sizes[location] = mapped, len(mapped)
            return
        info = self.store.stat(location)
        if info is None:
            raise self._missing(piece)
        self._maps[location], self._sizes[location] = None, info.size

    def _missing(self, piece: Piece) -> SnapshotError:
        return self._error(piece, ErrorKind.MISSING_OBJECT, "is missing", "an object", "none")

    def _error(self, piece: Piece, kind: ErrorKind, problem: str, expected: str, found: str) -> SnapshotError:
        where = f"{self.where} in {self.store.uri}/{piece.location}"
        hint = "the snapshot is damaged: fetch it again, or use another one"
        return SnapshotError(kind, f"the object {problem}", where=where, expected=expected, found=found, hint=hint)


class PieceSource:
    """The rows of one piece.

    Attributes:
        row, column: Where the piece begins in its array.
        num_rows, num_columns: Its size.
        row_bytes: Bytes of one of its rows.
    """

    def __init__(
        self,
        cache: SourceCache,
        row: int,
        column: int,
        num_rows: int,
        num_columns: int,
        piece: Piece,
        dtype: np.dtype[Any],
    ) -> None:
        self.row, self.column, self.num_rows, self.num_columns = row, column, num_rows, num_columns
        self.row_bytes = num_columns * dtype.itemsize
        self._cache, self._piece, self._dtype = cache, piece, dtype
        self._check()

    def mapped(self) -> NDArray[np.uint8] | None:
        """The piece as read-only `uint8[num_rows, row_bytes]`, at any alignment; None where the storage cannot map."""
        view = self._cache.checked_map(self._piece, self._num_bytes)
        if view is None:
            return None
        flat = np.frombuffer(view, np.uint8, self._num_bytes, self._piece.start)
        return flat.reshape(self.num_rows, self.row_bytes)

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Put the piece's rows `[start, end)` into its columns of `out_ND`, which has all of the array's columns."""
        columns = slice(self.column, self.column + self.num_columns)
        mapped = self.mapped()
        if mapped is not None:
            out_ND[:, columns] = _as(mapped[start:end], self._dtype)
            return
        if self.num_columns == out_ND.shape[1]:
            self.read_runs([(start, end)], out_ND.reshape(-1).view(np.uint8))
            return
        step = max(1, _SCRATCH_BYTES // self.row_bytes)
        for first in range(start, end, step):
            last = min(first + step, end)
            scratch = np.empty((last - first, self.row_bytes), np.uint8)
            self.read_runs([(first, last)], scratch.reshape(-1))
            out_ND[first - start : last - start, columns] = _as(scratch, self._dtype)

    def read_runs(self, runs: Sequence[tuple[int, int]], out: NDArray[np.uint8]) -> None:
        """Read half-open runs of the piece's rows one after the other into `out`, which they fill."""
        self._cache.checked_map(self._piece, self._num_bytes)
        buffer = out.data
        requests, cursor = [], 0
        for start, end in runs:
            num_bytes = (end - start) * self.row_bytes
            first = self._piece.start + start * self.row_bytes
            requests.append(RangeRead(first, buffer[cursor : cursor + num_bytes]))
            cursor += num_bytes
        self._cache.store.read_ranges(self._piece.location, requests)

    @property
    def _num_bytes(self) -> int:
        return self.num_rows * self.row_bytes

    def _check(self) -> None:
        """Hold the piece's byte range against its sizes once more: arrays may be built by hand."""
        piece = self._piece
        fits = piece.end is None or piece.end - piece.start == prod(piece.sizes) * self._dtype.itemsize
        if piece.start < 0 or not fits:
            raise SnapshotError(
                ErrorKind.BAD_ENTRY,
                "has a byte range of another length",
                where=f"{self._cache.where} in {piece.location}",
                expected=f"{self._num_bytes} bytes for {list(piece.sizes)} of {self._dtype}",
                found=f"[{piece.start}, {piece.end})",
            )


def _as(rows: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Rows of bytes as rows of elements, whatever their alignment."""
    return rows.view(dtype)

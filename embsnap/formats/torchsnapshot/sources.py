"""One piece of an array as a source of bytes: mapped into memory where the storage can, else read by ranges.

Shape suffixes: R rows of a piece, N rows in hand, K bands of a piece's rows.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError
from embsnap.formats.block_checks import BlockChecks
from embsnap.formats.torchsnapshot.piece_checks import PieceChecks
from embsnap.kernels.streaming import copy_past_caches
from embsnap.model.table import Piece
from embsnap.storage.base import RangeRead, Store, check_location
from embsnap.storage.mapped import ask_for

__all__ = ["REQUESTS_IN_FLIGHT", "PieceSource", "SourceCache", "StagedRows", "num_calls"]

REQUESTS_IN_FLIGHT = 8
"""How many objects are asked for rows at a time where the storage cannot map."""
_BYTES_IN_FLIGHT = 64 << 20
_PART_BYTES = 1 << 19
"""Of what is mapped and has sums, copied at a time: it is still in a cache when it is summed."""
_PAST_CACHES_BYTES = 8 << 20
"""Of a read of so much, little is still in a cache when it is used."""
_ASKED_BYTES = 8 << 20
"""Of what is mapped, the disk is asked for at least so much at a time."""
_AHEAD_BYTES = 32 << 20
"""So far ahead of what is copied, so that the disk has no pause."""
_SCRATCH_BYTES = 1 << 25
"""Of column shards that cannot be mapped, at most this much is read at a time."""


class SourceCache:
    """The objects that hold an array's pieces, each opened and checked once."""

    def __init__(self, store: Store, where: str, checks: BlockChecks | None = None) -> None:
        self.store = store
        self.where = where
        self.checks = checks
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._objects: dict[str, tuple[int, memoryview | None]] = {}
        """Size of each, and its bytes where they are mapped."""

    def checked_map(self, piece: Piece, num_bytes: int) -> memoryview | None:
        """The object of a piece mapped into memory, or None where the storage cannot; its size is proven first.

        Raises:
            SnapshotError: `missing-object`, `short-object`, `bad-entry` where the piece is to be the whole object and
                the object is larger, or `checksum-mismatch` where the storage has another sum of it than the sidecar.
        """
        size, mapped = self._objects.get(piece.location) or self._opened(piece, num_bytes)
        end = piece.start + num_bytes
        if size < end:
            raise self._error(piece, ErrorKind.SHORT_OBJECT, "is too short", f"at least {end} bytes", f"{size} bytes")
        if piece.end is None and size != end:
            raise self._error(piece, ErrorKind.BAD_ENTRY, "has another size", f"{end} bytes", f"{size} bytes")
        return mapped

    def fetch(self, piece: Piece, requests: Sequence[RangeRead]) -> None:
        """Read ranges of a piece's object, whose size was proven."""
        self.store.read_ranges(piece.location, requests)

    def _opened(self, piece: Piece, num_bytes: int) -> tuple[int, memoryview | None]:
        """Look at an object once, whoever asks; others can be looked at meanwhile."""
        with self._lock:
            opening = self._opening.setdefault(piece.location, threading.Lock())
        with opening:
            if piece.location not in self._objects:
                self._objects[piece.location] = self._open(piece, num_bytes)
        return self._objects[piece.location]

    def _open(self, piece: Piece, num_bytes: int) -> tuple[int, memoryview | None]:
        location = check_location(piece.location, where=self.where)
        try:
            mapped = self.store.map(location)
        except NotFoundError:
            raise self._missing(piece) from None
        if mapped is not None:
            return len(mapped), mapped
        info = self.store.stat(location)
        if info is None:
            raise self._missing(piece)
        self.store.hold(info)
        if self.checks is not None and info.size >= piece.start + num_bytes:
            self.checks.compare(info)
        return info.size, None

    def _missing(self, piece: Piece) -> SnapshotError:
        return self._error(piece, ErrorKind.MISSING_OBJECT, "is missing", "an object", "none")

    def _error(self, piece: Piece, kind: ErrorKind, problem: str, expected: str, found: str) -> SnapshotError:
        where = f"{self.where} in {self.store.uri}/{piece.location}"
        hint = "the snapshot is damaged: fetch it again, or use another one"
        return SnapshotError(kind, f"the object {problem}", where=where, expected=expected, found=found, hint=hint)


@dataclass(frozen=True, slots=True, eq=False)
class StagedRows:
    """Rows of a piece that were fetched and lie in a mapped file: some of its bands, each of `band_rows` rows."""

    rows: NDArray[np.uint8]
    """`uint8[R, row_bytes]`; only the rows of the bands that are here may be touched."""
    band_rows: int
    is_here_K: NDArray[np.bool_]

    def holds(self, rows_N: NDArray[np.int64]) -> NDArray[np.bool_]:
        """`bool[N]`: whether each of these rows is here."""
        held_N: NDArray[np.bool_] = self.is_here_K[rows_N // self.band_rows]
        return held_N


class PieceSource:
    """The rows of one piece.

    Attributes:
        row, column: Where the piece begins in its array.
        num_rows, num_columns: Its size.
        row_bytes: Bytes of one of its rows.
        staged: Those of its rows that were fetched in advance.
        checks: Which of its rows were read, and which of these were compared with the sidecar's sums.
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
        self.staged: StagedRows | None = None
        self._cache, self._piece, self._dtype = cache, piece, dtype
        self.checks = PieceChecks(cache.checks, piece, num_rows, self.row_bytes)
        self._reached = -1, 0
        """Rows that the last read, and the last wish to the disk, ended before."""
        self._check()

    def mapped(self) -> NDArray[np.uint8] | None:
        """The piece as read-only `uint8[num_rows, row_bytes]`, at any alignment; None where the storage cannot map."""
        view = self._cache.checked_map(self._piece, self.num_bytes)
        if view is None:
            return None
        flat = np.frombuffer(view, np.uint8, self.num_bytes, self._piece.start)
        return flat.reshape(self.num_rows, self.row_bytes)

    def read(self, start: int, end: int, out_ND: NDArray[Any], *, past_map: bool = False) -> None:
        """Put the piece's rows `[start, end)` into its columns of `out_ND`, which has all of the array's columns."""
        columns = slice(self.column, self.column + self.num_columns)
        mapped = None if past_map else self.mapped()
        if mapped is not None:
            self._copy(mapped, start, end, out_ND, columns)
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
        buffer, cursor = out.data, 0
        into = []
        for start, end in runs:
            num_bytes = (end - start) * self.row_bytes
            into.append((start, buffer[cursor : cursor + num_bytes]))
            cursor += num_bytes
        self.read_into(into)

    def read_into(self, rows: Sequence[tuple[int, memoryview]]) -> None:
        """Read rows into several buffers: `(start, buffer)` is filled with the piece's rows from `start` on.

        They are summed as they arrive, while a core has them in its cache. A block that is not what was written may
        have been damaged on its way: if all of it is wanted here, it is asked for once more.
        """
        self._cache.checked_map(self._piece, self.num_bytes)
        first = self._piece.start
        note = self.checks.note
        requests = [RangeRead(first + start * self.row_bytes, buffer, note) for start, buffer in rows]
        self._cache.fetch(self._piece, requests)
        start = min((request.start for request in requests), default=0)
        end = max((request.start + len(request.buffer) for request in requests), default=0)
        again = [request.within(*span) for span in self.checks.failed(start, end) for request in requests]
        if again := [request for request in again if request.buffer]:
            self._cache.fetch(self._piece, again)
            self.checks.raise_failed(start, end)

    def passed(self, start: int, rows: NDArray[np.uint8]) -> None:
        """The rows from `start` on, of `mapped`, were looked at in order."""
        self.checks.passed(self._piece.start + start * self.row_bytes, rows.reshape(-1).data)

    def picked(self, num_rows: int) -> None:
        """So many rows were copied out of `mapped`, in any order."""
        view = self._cache.checked_map(self._piece, self.num_bytes)
        if view is not None:
            self.checks.picked(num_rows, view)

    def _copy(
        self, mapped: NDArray[np.uint8], start: int, end: int, out_ND: NDArray[Any], columns: slice[int, int, None]
    ) -> None:
        """Copy mapped rows part by part, while the disk reads what comes next: beyond `end` if reads are in order."""
        past_caches = self.num_columns == out_ND.shape[1] and out_ND.nbytes >= _PAST_CACHES_BYTES
        row_bytes = max(1, self.row_bytes)
        step = max(1, (_PART_BYTES if self.checks.has_sums else _ASKED_BYTES) // row_bytes)
        reached, asked = self._reached
        most, asked = (self.num_rows, asked) if start == reached else (end, start)
        for first in range(start, end, step):
            last = min(first + step, end)
            ahead = min(most, last + _AHEAD_BYTES // row_bytes)
            if (ahead - asked) * row_bytes >= _ASKED_BYTES or asked < last:
                ask_for(mapped[asked:ahead])
                asked = ahead
            part_ND, mapped_part = out_ND[first - start : last - start], mapped[first:last]
            if past_caches:
                copy_past_caches(mapped_part.reshape(-1), part_ND.reshape(-1).view(np.uint8))
            else:
                part_ND[:, columns] = _as(mapped_part, self._dtype)
            # What was copied is compared while it lies in the core's cache, and the disk reads on meanwhile.
            self.passed(first, mapped_part)
        self._reached = end, asked

    @property
    def num_bytes(self) -> int:
        """Of all its rows."""
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
                expected=f"{self.num_bytes} bytes for {list(piece.sizes)} of {self._dtype}",
                found=f"[{piece.start}, {piece.end})",
            )


def _as(rows: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Rows of bytes as rows of elements, whatever their alignment."""
    return rows.view(dtype)


def num_calls(num_pieces: int, num_bytes: int) -> int:
    """Calls to have under way for pieces of so many bytes together: large ones keep the network busy, two at a time."""
    return min(REQUESTS_IN_FLIGHT, max(2, _BYTES_IN_FLIGHT * num_pieces // max(1, num_bytes)))

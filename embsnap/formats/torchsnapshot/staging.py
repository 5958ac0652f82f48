"""Fetching rows of a stored array in advance, in the order they are stored, for readers that jump about in it.

Each piece is cut into bands of about a megabyte. A band of which most is needed is fetched whole, once, into a mapped
temporary file; of the others each reader fetches the rows it asks for, unless that would be a flood of requests.

Shape suffixes: V rows of the array, R rows of a piece, N rows in hand, K bands of a piece's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.sources import PieceSource, StagedRows
from embsnap.kernels.threads import run
from embsnap.model.progress import Progress
from embsnap.storage.staging import make_stage

__all__ = ["stage_rows"]

_BAND_BYTES = 1 << 20
_FEW_REQUESTS = 1000
"""So many ranges may be read one by one, however small they are."""
_REQUEST_BYTES = 64 << 10
"""What a request costs, as bytes of a stream that could be read in its stead."""
_PART_BYTES = 64 << 20
"""Fetched by one call, which keeps several requests in flight itself."""
_MOST_CALLS = 8
_CHUNK_ROWS = 1 << 20


def stage_rows(
    sources: Sequence[PieceSource],
    num_rows: int,
    wanted: Sequence[NDArray[np.int64]] | None,
    progress: Progress,
    task: str,
) -> None:
    """Fetch what is worth it of the rows that will be asked for, and leave it with the pieces as `staged`.

    Args:
        sources: Pieces of one array, of a store that cannot map.
        num_rows: V.
        wanted: As for `ArrayReader.stage`.
        progress: Is told of bytes.
        task: Name for `progress`.

    Raises:
        StorageError: `disk-full`: temporary files have no room; or the storage failed.
        SnapshotError: An object is missing or short.
    """
    is_needed_V = _needed(wanted, num_rows)
    pieces = [_BandedPiece.of(source, is_needed_V) for source in sources]
    _add_sparse(pieces, wanted or (), num_rows)
    pieces = [piece for piece in pieces if piece.is_here_K.any()]
    if not pieces:
        return
    starts = np.cumsum([0, *(piece.source.num_bytes for piece in pieces)]).tolist()
    ranges = [(at + a, at + b) for piece, at in zip(pieces, starts, strict=False) for a, b in piece.ranges]
    stage = make_stage(starts[-1], ranges)
    views = [stage[start:end] for start, end in pairwise(starts)]
    _fetch(pieces, views, progress, task)
    for piece, view in zip(pieces, views, strict=True):
        rows = np.frombuffer(view.toreadonly(), np.uint8).reshape(piece.source.num_rows, piece.source.row_bytes)
        piece.source.staged = StagedRows(rows, piece.band_rows, piece.is_here_K)


@dataclass(slots=True)
class _BandedPiece:
    """One piece, and which of its bands to fetch whole."""

    source: PieceSource
    band_rows: int
    is_needed_K: NDArray[np.bool_]
    """Bands with any row that is needed."""
    is_here_K: NDArray[np.bool_]

    @classmethod
    def of(cls, source: PieceSource, is_needed_V: NDArray[np.bool_]) -> _BandedPiece:
        """The bands of a piece, of which those are to be fetched that are needed by half."""
        band_rows = max(1, _BAND_BYTES // source.row_bytes)
        firsts_K = np.arange(0, source.num_rows, band_rows)
        needed_R = is_needed_V[source.row : source.row + source.num_rows].view(np.uint8)
        num_needed_K = np.add.reduceat(needed_R, firsts_K, dtype=np.int64) if len(firsts_K) else firsts_K
        sizes_K = np.minimum(source.num_rows - firsts_K, band_rows)
        return cls(source, band_rows, num_needed_K > 0, (num_needed_K > 0) & (2 * num_needed_K >= sizes_K))

    @property
    def is_sparse_K(self) -> NDArray[np.bool_]:
        """Bands that are needed, but not fetched whole."""
        return self.is_needed_K & ~self.is_here_K

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Half-open ranges of the piece's bytes to fetch, neighbouring bands joined."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.is_here_K, [False]]))) * self.band_rows
        ends = np.minimum(edges, self.source.num_rows) * self.source.row_bytes
        return [(start, end) for start, end in ends.reshape(-1, 2).tolist()]


def _needed(wanted: Sequence[NDArray[np.int64]] | None, num_rows: int) -> NDArray[np.bool_]:
    is_needed_V = np.full(num_rows, wanted is None)
    for rows_N in _chunks(wanted or ()):
        is_needed_V[rows_N[rows_N >= 0]] = True
    return is_needed_V


def _add_sparse(pieces: Sequence[_BandedPiece], wanted: Sequence[NDArray[np.int64]], num_rows: int) -> None:
    """Fetch sparse bands too where their rows, read one by one, would cost more than the bands do."""
    is_sparse_V = np.zeros(num_rows, np.bool_)
    sparse_bytes = 0
    for piece in pieces:
        is_sparse_R = np.repeat(piece.is_sparse_K, piece.band_rows)[: piece.source.num_rows]
        is_sparse_V[piece.source.row : piece.source.row + piece.source.num_rows] |= is_sparse_R
        sparse_bytes += int(np.count_nonzero(is_sparse_R)) * piece.source.row_bytes
    num_requests = 0
    for rows_N in _chunks(wanted) if sparse_bytes else ():
        is_asked_N = is_sparse_V[rows_N] & (rows_N >= 0)
        is_asked_N[1:] &= np.diff(rows_N) != 1
        num_requests += int(np.count_nonzero(is_asked_N))
    if num_requests > _FEW_REQUESTS and num_requests * _REQUEST_BYTES >= sparse_bytes:
        for piece in pieces:
            piece.is_here_K |= piece.is_needed_K


def _chunks(wanted: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
    for rows_N in wanted:
        for start in range(0, len(rows_N), _CHUNK_ROWS):
            yield rows_N[start : start + _CHUNK_ROWS]


def _fetch(pieces: Sequence[_BandedPiece], views: Sequence[memoryview], progress: Progress, task: str) -> None:
    parts = [part for piece, view in zip(pieces, views, strict=True) for part in _parts(piece, view)]
    num_bytes = sum(len(view) for _, _, view in parts)

    def fetch(source: PieceSource, first_row: int, view: memoryview) -> None:
        source.read_into([(first_row, view)])
        progress.advance(task, len(view))

    progress.start(task, num_bytes)
    num_calls = min(_MOST_CALLS, max(2, _PART_BYTES * len(parts) // num_bytes))
    run([partial(fetch, *part) for part in parts], num_calls)
    progress.finish(task)


def _parts(piece: _BandedPiece, view: memoryview) -> Iterator[tuple[PieceSource, int, memoryview]]:
    """What one call fetches: from which row on, and to where."""
    step = max(1, _PART_BYTES // piece.source.row_bytes) * piece.source.row_bytes
    for first, end in piece.ranges:
        for start in range(first, end, step):
            yield piece.source, start // piece.source.row_bytes, view[start : min(start + step, end)]

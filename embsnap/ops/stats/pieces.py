"""Mean norms of a table's pieces, and of the ranks that hold them.

Shape suffixes: V rows of a table, N rows in hand, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, prod
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.reduce import row_norms
from embsnap.model.table import Piece, Table
from embsnap.model.table_stats import RankNorm, ShardNorm

__all__ = ["PieceNorms", "rank_norms", "shard_norms"]

_CHUNK_ROWS = 1 << 16


class PieceNorms:
    """Sums of norms by piece, of the columns that the piece has.

    Pieces of whole rows need nothing while rows are read: their norms are the table's.
    """

    def __init__(self, pieces: Sequence[Piece], dim: int | None) -> None:
        """Expect blocks of a table with these pieces; `dim` of None expects none."""
        self.pieces = pieces
        cut = [i for i, piece in enumerate(pieces) if dim is not None and piece.sizes[1] != dim]
        self._sums: dict[int, dict[int, tuple[float, int]]] = {i: {} for i in cut}
        self._totals: dict[int, tuple[float, int]] = {}
        self._lock = Lock()

    def add(self, first: int, rows_ND: NDArray[Any]) -> None:
        """Take in the rows `[first, first + N)`, from any thread, each once."""
        for index, sums in self._sums.items():
            (row, column), (num_rows, num_columns) = self.pieces[index].offsets, self.pieces[index].sizes
            begin, end = max(row, first), min(row + num_rows, first + len(rows_ND))
            if begin < end:
                part = np.ascontiguousarray(rows_ND[begin - first : end - first, column : column + num_columns])
                total = _finite_sum(row_norms(part))
                with self._lock:
                    sums[begin] = total

    def of(self, index: int, norms_V: NDArray[np.float64]) -> tuple[float, int]:
        """Sum of the finite norms of a piece, and how many they are; `norms_V` are the table's, always the same."""
        if index not in self._totals:
            self._totals[index] = self._total(index, norms_V)
        return self._totals[index]

    def _total(self, index: int, norms_V: NDArray[np.float64]) -> tuple[float, int]:
        if index in self._sums:
            parts = list(self._sums[index].values())
        else:
            row, num_rows = self.pieces[index].offsets[0], self.pieces[index].sizes[0]
            bounds = range(row, row + num_rows, _CHUNK_ROWS)
            parts = [_finite_sum(norms_V[start : min(start + _CHUNK_ROWS, row + num_rows)]) for start in bounds]
        return fsum(total for total, _ in parts), sum(count for _, count in parts)


def shard_norms(norms: PieceNorms, norms_V: NDArray[np.float64]) -> tuple[ShardNorm, ...]:
    """Of each piece."""
    return tuple(
        ShardNorm(piece.rank, piece.offsets, piece.sizes, piece.location, _mean([norms.of(index, norms_V)]))
        for index, piece in enumerate(norms.pieces)
    )


def rank_norms(table: Table, key: str, norms: PieceNorms, norms_V: NDArray[np.float64]) -> tuple[RankNorm, ...]:
    """Of each rank with a piece that was read: the mean over all rows of its pieces.

    A rank with one shard has what the-algorithm-ml's `log_ebc_norms` logs for it, but of all rows.
    """
    held: dict[int, list[int]] = {}
    for index, piece in enumerate(norms.pieces):
        held.setdefault(piece.rank, []).append(index)
    return tuple(
        RankNorm(
            name=f"{key}-norm-{rank}",
            rank=rank,
            num_rows=sum(norms.pieces[index].sizes[0] for index in indices),
            num_bytes=sum(prod(norms.pieces[index].sizes) for index in indices) * table.weight.dtype.itemsize,
            mean_norm=_mean([norms.of(index, norms_V) for index in indices]),
        )
        for rank, indices in sorted(held.items())
    )


def _finite_sum(norms_N: NDArray[np.float64]) -> tuple[float, int]:
    finite_N = np.isfinite(norms_N)
    norms_N = norms_N if finite_N.all() else norms_N[finite_N]
    return float(norms_N.sum()), len(norms_N)


def _mean(parts: Sequence[tuple[float, int]]) -> float | None:
    count = sum(number for _, number in parts)
    return fsum(total for total, _ in parts) / count if count else None

"""An array as rows: how many, and which piece holds which.

Shape suffixes: N rows in hand, M of them in some piece, B bands of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.torchsnapshot.sources import PieceSource
from embsnap.kernels.gather import split_by_band
from embsnap.model.table import Piece, StoredArray

__all__ = ["Bands", "as_matrix", "column_groups", "placed"]


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
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

    def cut(self, block_bytes: int) -> Bands:
        """The same pieces, each as several bands of at most `block_bytes`."""
        starts: list[int] = []
        sources: list[PieceSource | None] = []
        for start, source in zip(self.starts_B.tolist(), self.sources_B, strict=True):
            step = max(1, block_bytes // source.row_bytes) if source is not None else 1
            firsts = range(start, start + (source.num_rows if source is not None else 1), step)
            starts += firsts
            sources += [source] * len(firsts)
        return Bands(self.first_column, np.array(starts, np.int64), sources)


def column_groups(sources: Sequence[PieceSource], num_rows: int) -> Iterator[Bands]:
    """The pieces by their columns, in the order of these; each group with its rows."""
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
        yield Bands(column, np.array(starts, np.int64), bands)


def as_matrix(array: StoredArray) -> tuple[int, int]:
    """Rows and columns of an array.

    Raises:
        UsageError: It has more than two dimensions.
    """
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


def placed(piece: Piece) -> tuple[int, int, int, int]:
    """First row and column of a piece, and how many of each it has."""
    row, column = (*piece.offsets, 0, 0)[:2]
    num_rows, num_columns = (*piece.sizes, 1, 1)[:2]
    assert prod(piece.sizes) == num_rows * num_columns
    return row, column, num_rows, num_columns

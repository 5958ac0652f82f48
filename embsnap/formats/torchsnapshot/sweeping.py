"""Rows of one piece in the order they are stored, handed to whoever can take them in any order.

Shape suffixes: M rows in hand, d columns of the piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.scattered import fetch_rows
from embsnap.formats.torchsnapshot.sources import PieceSource
from embsnap.kernels.gather import gather_rows

__all__ = ["BLOCK_BYTES", "Put", "sweep_block"]

BLOCK_BYTES = 8 << 20
"""Of an object, read at a time."""

Put = Callable[[NDArray[np.int64], NDArray[Any], int], None]
"""Takes `int64[M]` places, `[M, d]` rows for them, and the first of the d columns they belong into."""


def sweep_block(
    source: PieceSource,
    first_row: int,
    rows_M: NDArray[np.int64],
    places_M: NDArray[np.int64],
    dtype: np.dtype[Any],
    put: Put,
) -> None:
    """Read some rows of a piece that lie near each other, each once, and hand them on.

    Args:
        source: The piece.
        first_row: What `rows_M` are counted from, itself counted from the piece's first row.
        rows_M: `int64[M]`, in any order, with repeats, at least one.
        places_M: `int64[M]`: where each is to go.
        dtype: Of the elements.
        put: Called with at most as many rows at a time as the block has.
    """
    low, high = int(rows_M.min()), int(rows_M.max()) + 1
    block, base = source.mapped(), -first_row
    is_mapped = block is not None
    if block is None and 2 * len(rows_M) >= high - low:
        block, base = np.empty((high - low, source.row_bytes), np.uint8), low
        source.read_runs([(first_row + low, first_row + high)], block.reshape(-1))
    for start in range(0, len(rows_M), high - low):
        part_M, to_M = rows_M[start : start + high - low], places_M[start : start + high - low]
        rows = np.empty((len(part_M), source.row_bytes), np.uint8)
        if block is None:
            fetch_rows(source, part_M + first_row, np.arange(len(part_M)), rows, 0)
        else:
            gather_rows(block, part_M - base, np.arange(len(part_M)), rows)
            if is_mapped:
                source.picked(len(part_M))
        put(to_M, rows.view(dtype), source.column)

"""The rows of a whole table that are nearest to some of its rows.

Shape suffixes: Q queries, D embedding_dim, N rows in hand.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.kernels.nearest import Nearest, merged
from embsnap.kernels.pairs import floats_of
from embsnap.kernels.threads import run, split
from embsnap.model.progress import Progress
from embsnap.ops.memory import MAX_BLOCK_BYTES
from embsnap.ops.staged_blocks import read_block

__all__ = ["nearest_rows"]

_RANGES_PER_THREAD = 4


def nearest_rows(
    reader: ArrayReader,
    queries_QD: NDArray[Any],
    rows_Q: NDArray[np.int64],
    k: int,
    *,
    threads: int,
    progress: Progress,
    task: str,
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Rows and cosines of each query's k nearest other rows, exactly; the table is read once, in blocks.

    Args:
        reader: The table.
        queries_QD: `[Q, D]`.
        rows_Q: `int64[Q]`: the row that each query is, and that is no neighbour of it.
        k: How many.
        threads: Ranges of rows that are read at a time.
        progress: Is told the rows done.
        task: What it calls them.

    Raises:
        SnapshotError, StorageError: As reading rows.
    """
    block_rows = max(1, MAX_BLOCK_BYTES // max(1, reader.dim * reader.dtype.itemsize))

    def search(start: int, end: int) -> Nearest:
        nearest = Nearest(queries_QD, k, rows_Q)
        buffer_ND = np.empty((block_rows, reader.dim), reader.dtype)
        for first in range(start, end, block_rows):
            last = min(first + block_rows, end)
            rows_ND = buffer_ND[: last - first]
            read_block(reader, first, last, rows_ND)
            nearest.add(first, floats_of(rows_ND))
            progress.advance(task, last - first)
        return nearest

    progress.start(task, reader.num_rows, "rows")
    try:
        reader.stage(None, progress=progress)
        ranges = split(reader.num_rows, threads * _RANGES_PER_THREAD)
        return merged(run([partial(search, *bounds) for bounds in ranges], threads))
    finally:
        reader.unstage()
        progress.finish(task)

"""Rows by index out of one piece, into chosen rows of an array.

Shape suffixes: N rows in hand, U of them distinct.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.sources import PieceSource
from embsnap.kernels.gather import gather_rows

__all__ = ["copy_rows", "fetch_rows"]

_SCRATCH_BYTES = 1 << 25
"""Read at a time from storage that cannot be mapped."""


def copy_rows(
    source: PieceSource,
    rows_N: NDArray[np.int64],
    positions_N: NDArray[np.int64],
    out: NDArray[np.uint8],
    offset: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Copy those rows that are mapped or staged: row `rows_N[i]` to row `positions_N[i]` of `out`, from `offset` on.

    Args:
        source: The piece.
        rows_N: `int64[N]`, counted from the piece's first row.
        positions_N: `int64[N]`.
        out: `uint8[N', bytes of a whole row]`.
        offset: Where in a row of `out` the piece's columns begin, in bytes.

    Returns:
        The rows that are left to be fetched, and their positions.
    """
    mapped, staged = source.mapped(), source.staged
    if mapped is not None:
        gather_rows(mapped, rows_N, positions_N, out, offset)
        source.picked(len(rows_N))
        return rows_N[:0], positions_N[:0]
    if staged is None:
        return rows_N, positions_N
    held_N = staged.holds(rows_N)
    if held_N.all():
        gather_rows(staged.rows, rows_N, positions_N, out, offset)
    else:
        gather_rows(staged.rows, rows_N[held_N], positions_N[held_N], out, offset)
    return rows_N[~held_N], positions_N[~held_N]


def fetch_rows(
    source: PieceSource,
    rows_N: NDArray[np.int64],
    positions_N: NDArray[np.int64],
    out: NDArray[np.uint8],
    offset: int,
) -> None:
    """As `copy_rows`, for rows that have to be read by ranges: each distinct one once, neighbours in one range."""
    order = np.argsort(rows_N, kind="stable")
    sorted_N = rows_N[order]
    for begin, end, runs in _batches(sorted_N, source.row_bytes):
        scratch = np.empty((sum(last - first for first, last in runs), source.row_bytes), np.uint8)
        source.read_runs(runs, scratch.reshape(-1))
        local_N = _places(sorted_N[begin:end], runs)
        gather_rows(scratch, local_N, positions_N[order[begin:end]], out, offset)


def _batches(sorted_N: NDArray[np.int64], row_bytes: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Cut sorted rows into batches that fit the scratch buffer.

    Yields:
        `(begin, end, runs)`: the batch is `sorted_N[begin:end]`, and the half-open runs of rows, ascending, hold it.
    """
    max_rows = max(1, _SCRATCH_BYTES // row_bytes)
    begin = 0
    runs: list[tuple[int, int]] = []
    num_rows = 0
    for index, first, last in _runs(sorted_N, max_rows):
        if runs and num_rows + last - first > max_rows:
            yield begin, index, runs
            begin, runs, num_rows = index, [], 0
        runs.append((first, last))
        num_rows += last - first
    if runs:
        yield begin, len(sorted_N), runs


def _runs(sorted_N: NDArray[np.int64], max_rows: int) -> Iterator[tuple[int, int, int]]:
    """Runs `[first, last)` of rows without a hole, at most `max_rows` long, with the index of their first row.

    Which holes are read along is for the storage to decide: it knows what a request costs.
    """
    far = np.diff(sorted_N) > 1
    starts = np.concatenate([[0], np.flatnonzero(far) + 1])
    run_of = np.cumsum(np.concatenate([[0], far]))
    part_N = (sorted_N - sorted_N[starts][run_of]) // max_rows
    cuts = np.flatnonzero((np.diff(part_N) != 0) | far) + 1
    begins = np.concatenate([[0], cuts])
    ends = np.concatenate([cuts, [len(sorted_N)]])
    firsts, lasts = sorted_N[begins], sorted_N[ends - 1] + 1
    yield from zip(begins.tolist(), firsts.tolist(), lasts.tolist(), strict=True)


def _places(sorted_N: NDArray[np.int64], runs: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Where each row lies in a buffer that holds the runs one after the other."""
    firsts = np.array([first for first, _ in runs], np.int64)
    lengths = np.array([last - first for first, last in runs], np.int64)
    bases = np.cumsum(lengths) - lengths
    run_of = np.searchsorted(firsts, sorted_N, side="right") - 1
    return bases[run_of] + sorted_N - firsts[run_of]

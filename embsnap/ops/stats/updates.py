"""Rows that training never touched, as far as optimizer state tells.

Shape suffixes: V rows of a table, S rows of a sample, N rows in hand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.kernels.threads import run
from embsnap.model.table import StateLayout, Table, TableState

__all__ = ["telling_state", "untouched_rows"]

_PREFERRED = ("sum", "exp_avg_sq", "momentum2", "momentum1", "exp_avg", "momentum_buffer")
"""Sums of squares first: they only grow, or shrink to zero later than means do."""
_ROW_LAYOUTS = (StateLayout.ROW_WISE, StateLayout.ROW_WISE_PER_COLUMN_SHARD, StateLayout.ELEMENT_WISE)
_READ_BYTES = 8 << 20


def telling_state(table: Table) -> TableState | None:
    """The optimizer state whose zeros mean that a row was never updated; None if the table has none.

    Of several states it is the one that sums squares, and the smallest. A state that begins at a value other than zero
    tells nothing, and neither does one that decays to zero; then no row is zero, or rows long idle are.
    """
    found = [state for state in table.state if state.layout in _ROW_LAYOUTS and state.array.dtype.is_floating]
    return min(found, key=lambda state: (_preference(state.name), state.array.num_bytes), default=None)


def _preference(name: str) -> int:
    return _PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED)


def untouched_rows(
    reader: ArrayReader,
    layout: StateLayout,
    num_rows: int,
    rows_S: NDArray[np.int64] | None,
    *,
    threads: int = 1,
    advance: Callable[[int], None] = lambda num_bytes: None,
) -> NDArray[np.bool_]:
    """Which rows have a state of nothing but zeros.

    Args:
        reader: Of the state.
        layout: Of the state.
        num_rows: V of the table.
        rows_S: Rows of a sample, ascending; None for all.
        threads: How many threads read.
        advance: Is told the bytes read.

    Returns:
        `bool[V]`, or `bool[S]`.

    Raises:
        SnapshotError: An object is not what the manifest says.
        StorageError: The storage failed.
    """
    total = num_rows if rows_S is None else len(rows_S)
    untouched = np.ones(total, np.bool_)
    row_bytes = reader.dim * reader.dtype.itemsize
    step = max(1, _READ_BYTES // row_bytes)
    runs = reader.num_rows // num_rows if layout is StateLayout.ROW_WISE_PER_COLUMN_SHARD and num_rows else 1

    def look(start: int) -> None:
        end = min(start + step, total)
        buffer_ND = np.empty((end - start, reader.dim), reader.dtype)
        for shard in range(runs):
            _read(reader, shard * num_rows, rows_S, start, buffer_ND)
            untouched[start:end] &= _all_zero(buffer_ND)
            advance(buffer_ND.nbytes)

    run([partial(look, start) for start in range(0, total, step)], threads)
    return untouched


def _read(
    reader: ArrayReader, base: int, rows_S: NDArray[np.int64] | None, start: int, buffer_ND: NDArray[Any]
) -> None:
    end = start + len(buffer_ND)
    if rows_S is None:
        reader.read(base + start, base + end, buffer_ND)
    else:
        reader.gather(base + rows_S[start:end], buffer_ND)


def _all_zero(values_ND: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows of zeros, of either sign."""
    zero: NDArray[np.bool_] = ~(values_ND != 0).any(axis=1)
    return zero

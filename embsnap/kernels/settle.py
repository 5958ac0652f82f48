"""Turning pairs of byte ids with equal keys into rows, once the bytes have been compared.

The pairs come partition by partition from a match of keys alone. Here they are taken in the order of the new side, and
what a pair needs from the old side is asked for ahead of time: a join that compares bytes while it probes waits for
the memory six times for each id.

Shape suffixes: N ids of one side, V rows of the new table.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.bytes_ids import same_bytes
from embsnap.kernels.compiler import frozen, kernel
from embsnap.kernels.memory import prefetch, unowned
from embsnap.kernels.threads import run, split
from embsnap.model.vocabulary import BytesIds

__all__ = ["settle"]

_BLOCK = 256


def settle(
    old_ids: BytesIds,
    old_rows_N: NDArray[np.int64],
    new_ids: BytesIds,
    new_rows_N: NDArray[np.int64],
    matches_N: NDArray[np.int64],
    row_V: NDArray[np.int64],
    *,
    threads: int,
) -> bool:
    """Fill in the old rows of new ids, if all ids with one key are one id.

    Args:
        old_ids: Ids of the old side; their offsets are known to lie in their data, as those of the new side's.
        old_rows_N: Row of each.
        new_ids: Ids of the new side.
        new_rows_N: Row of each, in `[0, V)`.
        matches_N: For each new id the index of the old id with its key, or a negative number.
        row_V: Filled at the rows of new ids: the old row, or the negative number.
        threads: How many threads may work on it.

    Returns:
        Whether the bytes of all pairs are equal; if not, `row_V` is to be filled in another way.
    """
    old = (frozen(old_ids.offsets, np.int64), frozen(old_ids.data, np.uint8), frozen(old_rows_N, np.int64))
    new = (frozen(new_ids.offsets, np.int64), frozen(new_ids.data, np.uint8), frozen(new_rows_N, np.int64))
    inputs = (*old, *new, frozen(matches_N, np.int64))
    return all(run([partial(_settle, *inputs, *bounds, row_V) for bounds in split(len(matches_N), threads)], threads))


@kernel
def _settle(
    old_offsets: Any,
    old_data: Any,
    old_rows_N: Any,
    new_offsets: Any,
    new_data: Any,
    new_rows_N: Any,
    matches_N: Any,
    start: int,
    end: int,
    row_V: Any,
) -> bool:
    old_offsets, old_data, old_rows_N = unowned(old_offsets), unowned(old_data), unowned(old_rows_N)
    row_V, firsts, lasts = unowned(row_V), np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    for block in range(start, end, _BLOCK):
        length = min(_BLOCK, end - block)
        for i in range(length):
            match = max(matches_N[block + i], 0)
            prefetch(old_offsets, match * 8)
            prefetch(old_rows_N, match * 8)
            prefetch(row_V, new_rows_N[block + i] * 8)
        for i in range(length):
            match = matches_N[block + i]
            if match >= 0:
                firsts[i], lasts[i] = old_offsets[match], old_offsets[match + 1]
                prefetch(old_data, firsts[i])
                prefetch(old_data, lasts[i] - 1)
        for i in range(length):
            match, row = matches_N[block + i], new_rows_N[block + i]
            if match < 0:
                row_V[row] = match
                continue
            new_first, new_last = new_offsets[block + i], new_offsets[block + i + 1]
            if not same_bytes(old_data, firsts[i], lasts[i], new_data, new_first, new_last):
                return False
            row_V[row] = old_rows_N[match]
    return True

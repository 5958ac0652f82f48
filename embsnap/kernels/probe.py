"""Matching the two sides of a join, partition by partition.

Each partition has one open-addressing table that takes the old ids first and then the new ones, those included that no
old id matches: so the one pass sees an id that either side holds twice. The table's entries are numbered: the
partition's old ids first, then its new ones. A slot holds an entry's key and a code: the entry's number, or its
complement once a new id has claimed it, or `_EMPTY`.

Shape suffixes: N ids of a side in partition order, P partitions, S slots, K examples, V rows of the new table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.bytes_ids import same_bytes
from embsnap.kernels.compiler import kernel, primitive

__all__ = ["NEW_ROW", "Side", "probe_range"]

NEW_ROW = -2
"""`row_V[row] == NEW_ROW - place` marks the row of an entity that only the new side has; `place` is that of its key."""

_EMPTY = np.int32(-(2**31))
_ONE = np.uint64(1)


class Side(NamedTuple):
    """One side of a join, partitioned."""

    entries_N2: NDArray[np.uint64]
    """Key and row of each id; for byte ids key and index into the three arrays below, which are empty otherwise."""
    starts_P: NDArray[np.int64]
    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]
    rows: NDArray[np.int64]


@kernel
def probe_range(old: Side, new: Side, bits: int, first: int, last: int, row_V: Any, tally: Any, repeats: Any) -> None:
    """Match the partitions `[first, last)`.

    Args:
        old: The old side.
        new: The new side.
        bits: How many top bits of a key name its partition.
        first: First partition.
        last: One past the last partition.
        row_V: `int64[V]`; filled at the rows of new ids: an old row, or `NEW_ROW - place`. Of the several occurrences
            of an id the first one counts.
        tally: `int64[3]`, added to: new ids carried, repeats on the old side, repeats on the new side.
        repeats: `int64[2, P, K]`, -1 at first: places of the first few repeats on the old and on the new side.
    """
    largest = 0
    for p in range(first, last):
        largest = max(largest, old.starts_P[p + 1] - old.starts_P[p] + new.starts_P[p + 1] - new.starts_P[p])
    slot_keys, slot_codes = np.empty(1 << _log_slots(largest), np.uint64), np.empty(1 << _log_slots(largest), np.int32)
    for p in range(first, last):
        log = _log_slots(old.starts_P[p + 1] - old.starts_P[p] + new.starts_P[p + 1] - new.starts_P[p])
        keys_S, codes_S = slot_keys[: 1 << log], slot_codes[: 1 << log]
        codes_S[:] = _EMPTY
        shift = np.uint64(64 - bits - log)
        tally[1] += _insert_old(old, p, shift, keys_S, codes_S, repeats[0, p])
        carried, repeated = _insert_new(old, new, p, shift, keys_S, codes_S, row_V, repeats[1, p])
        tally[0] += carried
        tally[2] += repeated


@primitive
def _log_slots(num_ids: int) -> int:
    """Binary logarithm of a table's size: it is at most half full."""
    log = 1
    while (1 << log) < 2 * num_ids:
        log += 1
    return log


@primitive
def _insert_old(old: Side, p: int, shift: Any, keys_S: Any, codes_S: Any, repeats_K: Any) -> int:
    """Put the partition's old ids into the table; the number of repeats."""
    start, end, entries_N2 = old.starts_P[p], old.starts_P[p + 1], old.entries_N2
    is_bytes, num_repeats, mask = len(old.rows) > 0, 0, np.uint64(len(codes_S) - 1)
    for place in range(start, end):
        key = entries_N2[place, 0]
        slot = (key >> shift) & mask
        code = codes_S[slot]
        while code != _EMPTY:
            if keys_S[slot] == key and (not is_bytes or _same_id(old, start + code, old, place)):
                break
            slot = (slot + _ONE) & mask
            code = codes_S[slot]
        if code == _EMPTY:
            keys_S[slot], codes_S[slot] = key, np.int32(place - start)
        else:
            if num_repeats < len(repeats_K):
                repeats_K[num_repeats] = place
            num_repeats += 1
    return num_repeats


@primitive
def _insert_new(
    old: Side, new: Side, p: int, shift: Any, keys_S: Any, codes_S: Any, row_V: Any, repeats_K: Any
) -> tuple[int, int]:
    """Look the partition's new ids up, and put those that are not there into the table; ids carried, and repeats."""
    start, end, entries_N2 = new.starts_P[p], new.starts_P[p + 1], new.entries_N2
    old_start, num_old = old.starts_P[p], old.starts_P[p + 1] - old.starts_P[p]
    is_bytes, num_carried, num_repeats, mask = len(new.rows) > 0, 0, 0, np.uint64(len(codes_S) - 1)
    for place in range(start, end):
        key = entries_N2[place, 0]
        slot = (key >> shift) & mask
        code = codes_S[slot]
        while code != _EMPTY:
            if keys_S[slot] == key and (not is_bytes or _same_as_entry(old, new, p, code, place)):
                break
            slot = (slot + _ONE) & mask
            code = codes_S[slot]
        if code == _EMPTY:
            keys_S[slot], codes_S[slot] = key, ~np.int32(num_old + place - start)
            row_V[_row(new, place)] = NEW_ROW - place
        elif code >= 0:
            codes_S[slot] = ~code
            row_V[_row(new, place)] = _row(old, old_start + code)
            num_carried += 1
        else:
            if num_repeats < len(repeats_K):
                repeats_K[num_repeats] = place
            num_repeats += 1
    return num_carried, num_repeats


@primitive
def _row(side: Side, place: int) -> Any:
    payload = np.int64(side.entries_N2[place, 1])
    return side.rows[payload] if len(side.rows) > 0 else payload


@primitive
def _same_as_entry(old: Side, new: Side, p: int, code: int, place: int) -> Any:
    """Whether the table's entry of this code is the id at `place` of the new side."""
    entry, num_old = (code if code >= 0 else ~code), old.starts_P[p + 1] - old.starts_P[p]
    if entry < num_old:
        return _same_id(old, old.starts_P[p] + entry, new, place)
    return _same_id(new, new.starts_P[p] + entry - num_old, new, place)


@primitive
def _same_id(left: Side, left_place: int, right: Side, right_place: int) -> Any:
    i, j = np.int64(left.entries_N2[left_place, 1]), np.int64(right.entries_N2[right_place, 1])
    left_start, left_end = left.offsets[i], left.offsets[i + 1]
    return same_bytes(left.data, left_start, left_end, right.data, right.offsets[j], right.offsets[j + 1])

"""Matching the two sides of a join, partition by partition.

Each partition has one open-addressing table that takes the old ids first and then the new ones, those included that no
old id matches: so the one pass sees an id that either side holds twice. A slot is 0, or one word: the low 24 bits of
the id's key, whether a new id has claimed it, whether it is a new id itself, and one more than its place on its side.
The key's bits only spare most of the looks at the entry, where the whole key stands.

Shape suffixes: N byte ids, T ranges, P partitions, M places of a side, S slots, K examples, V rows of the new table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.bytes_ids import same_bytes
from embsnap.kernels.compiler import kernel, primitive
from embsnap.kernels.memory import unowned

__all__ = ["NEW_ROW", "Side", "log_slots", "probe_range"]

NEW_ROW = -2
"""`row_V[row] == NEW_ROW - place` marks the row of an entity that only the new side has; its key is `keys_N[place]`."""

_ZERO, _ONE = np.uint64(0), np.uint64(1)
_TAG_SHIFT = np.uint64(40)
_CLAIMED, _NEW = np.uint64(1 << 39), np.uint64(1 << 38)
_PLACE_MASK = np.uint64((1 << 38) - 1)


class Side(NamedTuple):
    """One side of a join, partitioned."""

    entries_M2: NDArray[np.uint64]
    """Key and row of each id; for byte ids key and index into the three arrays below, which are empty otherwise."""
    starts_TP: NDArray[np.int64]
    ends_TP: NDArray[np.int64]
    """Segment t of partition p has the places `[starts_TP[t, p], ends_TP[t, p])`."""
    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]
    rows_N: NDArray[np.int64]


def log_slots(num_ids: int) -> int:
    """Binary logarithm of the size of a table for so many ids: at most half of it is taken."""
    log = 1
    while (1 << log) < 2 * num_ids:
        log += 1
    return log


_log_slots = primitive(log_slots)


@kernel
def probe_range(
    old: Side,
    new: Side,
    bits: int,
    first: int,
    last: int,
    place: int,
    slots: Any,
    tally: Any,
    row_V: Any,
    keys_N: Any,
    repeats: Any,
) -> None:
    """Match the partitions `[first, last)`.

    Args:
        old: The old side.
        new: The new side.
        bits: How many top bits of a key name its partition.
        first: First partition.
        last: One past the last partition.
        place: Of the first key in `keys_N`; there is room for as many as the range has new ids.
        slots: `uint64[S]`, the table: room for `1 << log_slots(ids)` of the largest partition's ids on both sides.
        tally: `int64[3]`, added to: new ids carried, repeats on the old side, repeats on the new side.
        row_V: `int64[V]`; filled at the rows of new ids: an old row, or `NEW_ROW - place`. Of the several occurrences
            of an id the first one counts.
        keys_N: `uint64[N]`; filled with the keys of entities that only the new side has.
        repeats: `int64[2, P, K]`, -1 at first: places of the first few repeats on the old and on the new side.
    """
    old, new, row_V, slots = _unowned_side(old), _unowned_side(new), unowned(row_V), unowned(slots)
    for p in range(first, last):
        log = _log_slots(_num_ids(old, p) + _num_ids(new, p))
        slots_S, shift = slots[: 1 << log], np.uint64(64 - bits - log)
        slots_S[:] = _ZERO
        tally[1] += _insert_old(old, p, shift, slots_S, repeats[0, p])
        carried, repeated, place = _insert_new(old, new, p, shift, slots_S, place, row_V, keys_N, repeats[1, p])
        tally[0] += carried
        tally[2] += repeated


@primitive
def _unowned_side(side: Side) -> Side:
    entries_M2, starts_TP, ends_TP = unowned(side.entries_M2), unowned(side.starts_TP), unowned(side.ends_TP)
    return Side(entries_M2, starts_TP, ends_TP, unowned(side.offsets), unowned(side.data), unowned(side.rows_N))


@primitive
def _num_ids(side: Side, p: int) -> int:
    total = 0
    for t in range(side.starts_TP.shape[0]):
        total += side.ends_TP[t, p] - side.starts_TP[t, p]
    return total


@primitive
def _insert_old(old: Side, p: int, shift: Any, slots_S: Any, repeats_K: Any) -> int:
    """Put the partition's old ids into the table; the number of repeats."""
    entries_M2, num_repeats, mask = old.entries_M2, 0, np.uint64(len(slots_S) - 1)
    for t in range(old.starts_TP.shape[0]):
        for place in range(old.starts_TP[t, p], old.ends_TP[t, p]):
            key = entries_M2[place, 0]
            tag = key << _TAG_SHIFT
            s = (key >> shift) & mask
            slot = slots_S[s]
            while slot != _ZERO:
                if slot >> _TAG_SHIFT == tag >> _TAG_SHIFT and _same_id(old, _place(slot), old, place):
                    break
                s = (s + _ONE) & mask
                slot = slots_S[s]
            if slot == _ZERO:
                slots_S[s] = tag | np.uint64(place + 1)
            else:
                if num_repeats < len(repeats_K):
                    repeats_K[num_repeats] = place
                num_repeats += 1
    return num_repeats


@primitive
def _insert_new(
    old: Side, new: Side, p: int, shift: Any, slots_S: Any, next_place: int, row_V: Any, keys_N: Any, repeats_K: Any
) -> tuple[int, int, int]:
    """Look the partition's new ids up, and put those that are not there into the table.

    Returns:
        Ids carried, repeats, and the place for the next key.
    """
    entries_M2, num_carried, num_repeats, mask = new.entries_M2, 0, 0, np.uint64(len(slots_S) - 1)
    for t in range(new.starts_TP.shape[0]):
        for place in range(new.starts_TP[t, p], new.ends_TP[t, p]):
            key = entries_M2[place, 0]
            tag = key << _TAG_SHIFT
            s = (key >> shift) & mask
            slot = slots_S[s]
            while slot != _ZERO:
                if slot >> _TAG_SHIFT == tag >> _TAG_SHIFT and (
                    _same_id(new, _place(slot), new, place) if slot & _NEW else _same_id(old, _place(slot), new, place)
                ):
                    break
                s = (s + _ONE) & mask
                slot = slots_S[s]
            if slot == _ZERO:
                slots_S[s] = tag | _CLAIMED | _NEW | np.uint64(place + 1)
                row_V[_row(new, place)] = NEW_ROW - next_place
                keys_N[next_place] = key
                next_place += 1
            elif slot & _CLAIMED == _ZERO:
                slots_S[s] = slot | _CLAIMED
                row_V[_row(new, place)] = _row(old, _place(slot))
                num_carried += 1
            else:
                if num_repeats < len(repeats_K):
                    repeats_K[num_repeats] = place
                num_repeats += 1
    return num_carried, num_repeats, next_place


@primitive
def _place(slot: Any) -> Any:
    return np.int64(slot & _PLACE_MASK) - 1


@primitive
def _row(side: Side, place: int) -> Any:
    payload = np.int64(side.entries_M2[place, 1])
    return side.rows_N[payload] if len(side.rows_N) > 0 else payload


@primitive
def _same_id(left: Side, left_place: int, right: Side, right_place: int) -> Any:
    """Whether two entries are one id: integers with one key are, bytes are compared."""
    if left.entries_M2[left_place, 0] != right.entries_M2[right_place, 0]:
        return False
    if len(right.rows_N) == 0:
        return True
    i, j = np.int64(left.entries_M2[left_place, 1]), np.int64(right.entries_M2[right_place, 1])
    left_start, left_end = left.offsets[i], left.offsets[i + 1]
    return same_bytes(left.data, left_start, left_end, right.data, right.offsets[j], right.offsets[j + 1])

"""Radix partitioning: ids that are equal end up in the same partition, small enough for one core's cache.

Ids enter as 64-bit words, `mix64` makes keys of them, and the top bits of a key name its partition. The input is cut
into ranges, one for each thread, and each range has a segment of its own in every partition, where its ids keep their
order. Keys of different ids are spread evenly, so the size of a segment is guessed at first; where one id occurs very
often the guess fails, and the ids are counted.

A slice of the partitions can be made alone: several passes over the ids, one for each slice, hold fewer entries at a
time.

Shape suffixes: N ids, T ranges of the input, P partitions of the slice, M places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import kernel
from embsnap.kernels.memory import fence, stream_line
from embsnap.kernels.mixing import mix64
from embsnap.kernels.threads import run, split

__all__ = ["Partitioned", "partition", "partition_bits"]

_IDS_PER_PARTITION = 16_384
_MAX_BITS = 14
_SPARE = 6.0
"""Standard deviations by which a segment is larger than its expected size."""

_LINE = 4
"""Entries in a cache line of 64 bytes; each segment begins with one."""

_BLOCK = 512
"""Ids mixed at a time: a loop of its own, which the compiler turns into vector instructions."""


def partition_bits(num_ids: int) -> int:
    """How many top bits of a key name its partition; at least 1."""
    return min(_MAX_BITS, max(1, (num_ids // _IDS_PER_PARTITION).bit_length()))


@dataclass(frozen=True, slots=True, eq=False)
class Partitioned:
    """The ids of one side of a join by partition, those of one slice of the partitions."""

    words_N: NDArray[np.uint64]
    bits: int
    first: int
    """The first partition of the slice; it is number 0 below."""
    entries_M2: NDArray[np.uint64]
    """Key, and row or index; places outside the segments hold nothing."""
    starts_TP: NDArray[np.int64]
    ends_TP: NDArray[np.int64]
    """Segment t of partition p has the places `[starts_TP[t, p], ends_TP[t, p])`."""
    min_row: int
    """Smallest row, 0 without ids."""
    max_row: int
    """Largest row, -1 without ids."""

    @property
    def num_ids(self) -> int:
        """In the slice."""
        return int((self.ends_TP - self.starts_TP).sum())

    def indices_of(self, places: NDArray[np.int64], limit: int) -> tuple[int, ...]:
        """The input's indices of some places: the smallest `limit` of them, ascending."""
        found = np.full(min(limit, len(places)), -1, np.int64)
        num_found, shift = 0, np.uint64(64 - self.bits)
        for (start, end), starts_P in zip(split(len(self.words_N), len(self.starts_TP)), self.starts_TP, strict=True):
            if num_found < len(found):
                cursors_P = starts_P.copy()
                inputs = (self.words_N, shift, start, end, self.first, cursors_P)
                num_found = _find(*inputs, np.sort(places), found, num_found)
        return tuple(found.tolist())


def partition(
    words_N: NDArray[np.uint64],
    rows_N: NDArray[np.int64],
    *,
    by_index: bool,
    bits: int,
    threads: int,
    slice_P: tuple[int, int] | None = None,
) -> Partitioned:
    """Partition ids.

    Args:
        words_N: A word for each id.
        rows_N: The row of each id.
        by_index: Whether an id's index, and not its row, travels with its key.
        bits: How many top bits of a key name its partition.
        threads: How many threads work on it, each on one range.
        slice_P: Half-open range of the partitions to make; ids of others are passed over. All of them by default.
    """
    first, last = slice_P or (0, 1 << bits)
    sizes_T = np.array([end - start for start, end in split(len(words_N), threads)], np.int64)
    expected_T = sizes_T / (1 << bits)
    rooms_T = np.minimum(sizes_T, (expected_T + _SPARE * np.sqrt(expected_T) + _SPARE).astype(np.int64))
    rooms_TP = np.repeat(rooms_T[:, None], last - first, axis=1)
    partitioned = _scatter_all(words_N, rows_N, by_index, bits, first, rooms_TP, threads)
    if partitioned is None:
        counts_TP = _counts(words_N, bits, threads)[:, first:last]
        partitioned = _scatter_all(words_N, rows_N, by_index, bits, first, counts_TP, threads)
    assert partitioned is not None  # the ids were counted
    return partitioned


def _counts(words_N: NDArray[np.uint64], bits: int, threads: int) -> NDArray[np.int64]:
    """How many ids of each range belong to each partition, `int64[T, P]`."""
    ranges = split(len(words_N), threads)
    counts_TP = np.zeros((len(ranges), 1 << bits), np.int64)
    tasks = zip(ranges, counts_TP, strict=True)
    run([partial(_count, words_N, np.uint64(64 - bits), *bounds, counts_P) for bounds, counts_P in tasks], threads)
    return counts_TP


def _scatter_all(
    words_N: NDArray[np.uint64],
    rows_N: NDArray[np.int64],
    by_index: bool,
    bits: int,
    first: int,
    rooms_TP: NDArray[np.int64],
    threads: int,
) -> Partitioned | None:
    """Partition into segments with room for so many ids; None if that is not enough."""
    rooms_TP = -(-rooms_TP // _LINE) * _LINE
    limits_TP = np.cumsum(rooms_TP, dtype=np.int64).reshape(rooms_TP.shape)
    starts_TP = limits_TP - rooms_TP
    ends_TP, entries_M2 = starts_TP.copy(), _aligned_entries(int(rooms_TP.sum()))
    inputs, num_lines = (words_N, rows_N, by_index, np.uint64(64 - bits), first), _LINE * rooms_TP.shape[1]
    tasks = [
        partial(_scatter, *inputs, *bounds, limits_P, ends_P, _aligned_entries(num_lines), entries_M2)
        for bounds, limits_P, ends_P in zip(split(len(words_N), threads), limits_TP, ends_TP, strict=True)
    ]
    outcomes = run(tasks, threads)
    if not all(fits for _, _, fits in outcomes):
        return None
    min_row, max_row = (
        min((low for low, _, _ in outcomes), default=0),
        max((high for _, high, _ in outcomes), default=-1),
    )
    return Partitioned(words_N, bits, first, entries_M2, starts_TP, ends_TP, min_row, max_row)


def _aligned_entries(num_entries: int) -> NDArray[np.uint64]:
    """Uninitialised `uint64[num_entries, 2]` that begins with a cache line."""
    words = np.empty(2 * (num_entries + _LINE), np.uint64)
    skipped = -words.ctypes.data % 64 // 8
    return words[skipped : skipped + 2 * num_entries].reshape(num_entries, 2)


@kernel
def _count(words_N: Any, shift: Any, start: int, end: int, counts_P: Any) -> None:
    for i in range(start, end):
        counts_P[mix64(words_N[i]) >> shift] += 1


@kernel
def _scatter(
    words_N: Any,
    rows_N: Any,
    by_index: bool,
    shift: Any,
    first: int,
    start: int,
    end: int,
    limits_P: Any,
    ends_P: Any,
    lines_L2: Any,
    entries_M2: Any,
) -> tuple[int, int, bool]:
    """Collect each partition's entries until they fill a cache line, then write that line past the cache."""
    min_row: Any = rows_N[start]
    max_row: Any = rows_N[start]
    keys, picks = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.int64)
    for block in range(start, end, _BLOCK):
        length = min(_BLOCK, end - block)
        for i in range(length):
            keys[i] = mix64(words_N[block + i])
        for i in range(length):
            min_row, max_row = min(min_row, rows_N[block + i]), max(max_row, rows_N[block + i])
        num_picks: Any = 0
        for i in range(length):
            picks[num_picks] = i
            num_picks += np.int64(0 <= np.int64(keys[i] >> shift) - first < len(ends_P))
        for pick in range(num_picks):
            i = picks[pick]
            home = np.int64(keys[i] >> shift) - first
            place = ends_P[home]
            slot = home * _LINE + (place & (_LINE - 1))
            lines_L2[slot, 0] = keys[i]
            lines_L2[slot, 1] = np.uint64(block + i if by_index else rows_N[block + i])
            ends_P[home] = place + 1
            if place & (_LINE - 1) == _LINE - 1:
                if place >= limits_P[home]:
                    return 0, -1, False
                stream_line(entries_M2, (place - (_LINE - 1)) * 16, lines_L2, home * 64)
    for p in range(len(ends_P)):
        if ends_P[p] > limits_P[p]:
            return 0, -1, False
        for place in range(ends_P[p] // _LINE * _LINE, ends_P[p]):
            entries_M2[place] = lines_L2[p * _LINE + (place & (_LINE - 1))]
    fence()
    return min_row, max_row, True


@kernel
def _find(
    words_N: Any, shift: Any, start: int, end: int, first: int, cursors_P: Any, places: Any, found: Any, num_found: int
) -> int:
    """Go through a range as `_scatter` did and note the indices of the (sorted) places while there is room."""
    for i in range(start, end):
        p = np.int64(mix64(words_N[i]) >> shift) - first
        if not 0 <= p < len(cursors_P):
            continue
        place = cursors_P[p]
        cursors_P[p] = place + 1
        at = np.searchsorted(places, place)
        if at < len(places) and places[at] == place:
            found[num_found] = i
            num_found += 1
            if num_found == len(found):
                break
    return num_found

"""Radix partitioning: ids that are equal end up in the same partition, small enough for one core's cache.

Ids enter as 64-bit words, `mix64` makes keys of them, and the top bits of a key name its partition. Partitioning is
stable: within a partition the order is the one of the input.

Shape suffixes: N ids, T ranges of the input, P partitions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import kernel
from embsnap.kernels.mixing import mix64
from embsnap.kernels.threads import split

__all__ = ["Partitioning", "partition_bits"]

_IDS_PER_PARTITION = 16_384
_MAX_BITS = 16
_BLOCK = 512
"""Ids mixed at a time: a loop of its own, which the compiler turns into vector instructions."""


def partition_bits(num_ids: int) -> int:
    """How many top bits of a key name its partition; at least 1."""
    return min(_MAX_BITS, max(1, (num_ids // _IDS_PER_PARTITION).bit_length()))


@dataclass(slots=True, eq=False)
class Partitioning:
    """The ids of one side of a join, and after `count_tasks` and then `scatter_tasks` have run, its partitions."""

    words_N: NDArray[np.uint64]
    rows_N: NDArray[np.int64]
    by_index: bool
    """Whether an id's index, and not its row, travels with its key."""
    bits: int
    num_ranges: int
    counts_TP: NDArray[np.int64] = field(init=False)
    starts_P: NDArray[np.int64] = field(init=False)
    """`int64[P + 1]`: partition p has the places `[starts_P[p], starts_P[p + 1])` of `entries_N2`."""
    entries_N2: NDArray[np.uint64] = field(init=False)
    """Key, and row or index, side by side: one stream of writes for each partition."""

    def count_tasks(self) -> list[Callable[[], tuple[int, int]]]:
        """Count how many ids of each range fall into each partition; each task returns its smallest and largest row."""
        ranges = split(len(self.words_N), self.num_ranges)
        self.counts_TP = np.zeros((len(ranges), 1 << self.bits), np.int64)
        inputs = (self.words_N, self.rows_N, np.uint64(64 - self.bits))
        return [
            partial(_count, *inputs, *bounds, counts_P) for bounds, counts_P in zip(ranges, self.counts_TP, strict=True)
        ]

    def scatter_tasks(self) -> list[Callable[[], None]]:
        """Copy each range's keys, with rows or indices, to their partitions."""
        ends = np.cumsum(self.counts_TP.T).reshape(self.counts_TP.shape[::-1]).T
        cursors_TP = np.ascontiguousarray(ends - self.counts_TP)
        self.starts_P = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts_TP.sum(axis=0))])
        self.entries_N2 = np.empty((len(self.words_N), 2), np.uint64)
        inputs = (self.words_N, self.rows_N, self.by_index, np.uint64(64 - self.bits))
        ranges = zip(split(len(self.words_N), self.num_ranges), cursors_TP, strict=True)
        return [partial(_scatter, *inputs, *bounds, cursors_P, self.entries_N2) for bounds, cursors_P in ranges]

    def indices_of(self, places: NDArray[np.int64], limit: int) -> tuple[int, ...]:
        """The input's indices of some places: the smallest `limit` of them, ascending."""
        found = np.full(min(limit, len(places)), -1, np.int64)
        if len(found):
            _find(self.words_N, np.uint64(64 - self.bits), self.starts_P[:-1].copy(), np.sort(places), found)
        return tuple(found.tolist())


@kernel
def _count(words_N: Any, rows_N: Any, shift: Any, start: int, end: int, counts_P: Any) -> tuple[int, int]:
    smallest = largest = rows_N[start]
    partitions = np.empty(_BLOCK, np.int32)
    for block in range(start, end, _BLOCK):
        length = min(_BLOCK, end - block)
        for i in range(length):
            partitions[i] = np.int32(mix64(words_N[block + i]) >> shift)
        for i in range(length):
            smallest, largest = min(smallest, rows_N[block + i]), max(largest, rows_N[block + i])
        for i in range(length):
            counts_P[partitions[i]] += 1
    return smallest, largest


@kernel
def _scatter(
    words_N: Any, rows_N: Any, by_index: bool, shift: Any, start: int, end: int, cursors_P: Any, entries_N2: Any
) -> None:
    keys = np.empty(_BLOCK, np.uint64)
    for block in range(start, end, _BLOCK):
        length = min(_BLOCK, end - block)
        for i in range(length):
            keys[i] = mix64(words_N[block + i])
        for i in range(length):
            place = cursors_P[keys[i] >> shift]
            cursors_P[keys[i] >> shift] = place + 1
            entries_N2[place, 0] = keys[i]
            entries_N2[place, 1] = np.uint64(block + i if by_index else rows_N[block + i])


@kernel
def _find(words_N: Any, shift: Any, cursors_P: Any, places: Any, found: Any) -> None:
    """Go through the input as `_scatter` did, until enough of the (sorted) places have been met."""
    num_found = 0
    for i in range(len(words_N)):
        partition = mix64(words_N[i]) >> shift
        place = cursors_P[partition]
        cursors_P[partition] = place + 1
        at = np.searchsorted(places, place)
        if at < len(places) and places[at] == place:
            found[num_found] = i
            num_found += 1
            if num_found == len(found):
                return

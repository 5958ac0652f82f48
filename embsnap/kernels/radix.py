"""Radix partitioning: ids that are equal end up in the same partition, small enough for one core's cache.

Ids enter as 64-bit words, `mix64` makes keys of them, and the top bits of a key name its partition. The input is cut into
ranges, one for each thread, and every range has a segment of its own in each partition, in which its ids keep their order.
Keys of different ids are spread evenly, so that the size of a segment is guessed at first; only where an input holds one id
very often does the guess fail, and the ids are counted.

Shape suffixes: N ids, T ranges of the input, P partitions, M places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import kernel
from embsnap.kernels.memory import fence, stream_line
from embsnap.kernels.mixing import mix64
from embsnap.kernels.threads import split

__all__ = ["Partitioning", "partition_bits"]

_IDS_PER_PARTITION = 16_384
_MAX_BITS = 14
_SPARE = 8.0
"""Standard deviations by which a segment is larger than its expected size."""

_LINE = 4
"""Entries of a cache line of 64 bytes; segments begin at one."""

_BLOCK = 512
"""Ids mixed at a time: a loop of its own, which the compiler turns into vector instructions."""


def partition_bits(num_ids: int) -> int:
    """How many top bits of a key name its partition; at least 1."""
    return min(_MAX_BITS, max(1, (num_ids // _IDS_PER_PARTITION).bit_length()))


@dataclass(slots=True, eq=False)
class Partitioning:
    """The ids of one side of a join, and after its tasks have run, its partitions."""

    words_N: NDArray[np.uint64]
    rows_N: NDArray[np.int64]
    by_index: bool
    """Whether an id's index, and not its row, travels with its key."""
    bits: int
    num_ranges: int
    starts_TP: NDArray[np.int64] = field(init=False)
    ends_TP: NDArray[np.int64] = field(init=False)
    """Segment t of partition p has the places `[starts_TP[t, p], ends_TP[t, p])` of `entries_M2`."""
    entries_M2: NDArray[np.uint64] = field(init=False)
    """Key, and row or index."""

    def scatter_tasks(self) -> list[Callable[[], tuple[int, int, bool]]]:
        """Copy each range's ids to their partitions, with room for what is to be expected.

        Each task returns the smallest and the largest row of its range (0 and -1 if it has no ids), and whether the room
        was enough. If it was not for any of them, `count_tasks` and then `recount_tasks` have to run.
        """
        sizes = np.array([end - start for start, end in self._ranges()], np.int64)
        expected = sizes / (1 << self.bits)
        rooms = np.minimum(sizes, (expected + _SPARE * np.sqrt(expected) + _SPARE).astype(np.int64))
        return self._scatter_tasks(np.repeat(rooms[:, None], 1 << self.bits, axis=1))

    def count_tasks(self, counts_TP: NDArray[np.int64]) -> list[Callable[[], None]]:
        """Count how many ids of each range belong to each partition."""
        inputs = (self.words_N, np.uint64(64 - self.bits))
        return [partial(_count, *inputs, *bounds, counts_TP[t]) for t, bounds in enumerate(self._ranges())]

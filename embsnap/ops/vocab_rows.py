"""Which rows of a table are free, and who gets one.

Shape suffixes: N entities, G gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Evict", "FreeRows", "best"]

_MAX_RANGES = 1000


class Evict(StrEnum):
    """Who leaves where there are too many: the least frequent, the longest unseen, or by both ranks together."""

    COUNT = "count"
    RECENCY = "recency"
    BOTH = "both"


@dataclass(frozen=True, slots=True, eq=False)
class FreeRows:
    """Rows `[starts_G[g], ends_G[g])` of a table that nobody has, ascending."""

    starts_G: NDArray[np.int64]
    ends_G: NDArray[np.int64]

    @classmethod
    def of(cls, taken_N: NDArray[np.int64], special: Sequence[tuple[int, int]], num_rows: int) -> FreeRows:
        """Rows below `num_rows` that are neither in `taken_N`, in any order, nor in the ranges `special`."""
        starts = np.concatenate([taken_N, np.array([start for start, _ in special], np.int64), [num_rows]])
        ends = np.concatenate([taken_N + 1, np.array([end for _, end in special], np.int64), [num_rows]])
        order = np.argsort(starts, kind="stable")
        starts = starts[order]
        reached = np.concatenate([[0], np.maximum.accumulate(ends[order])[:-1]])
        is_gap = starts > reached
        return cls(reached[is_gap].astype(np.int64), starts[is_gap].astype(np.int64))

    def __len__(self) -> int:
        return int((self.ends_G - self.starts_G).sum())

    def first(self, num: int) -> NDArray[np.int64]:
        """The `num` lowest of them, or all if there are fewer."""
        total_G = np.cumsum(self.ends_G - self.starts_G)
        place = np.arange(min(num, len(self)), dtype=np.int64)
        gap = np.searchsorted(total_G, place, side="right")
        return self.ends_G[gap] - total_G[gap] + place

    def ranges(self) -> tuple[tuple[int, int], ...]:
        """As half-open ranges; a single one around all of them if they are scattered over too many."""
        if len(self.starts_G) > _MAX_RANGES:
            return ((int(self.starts_G[0]), int(self.ends_G[-1])),)
        return tuple(zip(self.starts_G.tolist(), self.ends_G.tolist(), strict=True))


def best(
    counts_N: NDArray[np.int64], seen_N: NDArray[np.int64], ties_N: NDArray[np.int64], evict: Evict
) -> NDArray[np.int64]:
    """Indices of entities, those to keep first.

    Args:
        counts_N: How often each was seen.
        seen_N: When each was seen last.
        ties_N: Distinct numbers; among equals the lowest comes first.
        evict: By what. `BOTH` adds, for each entity, how many have a lower count and how many were seen earlier.
    """
    if evict is Evict.COUNT:
        return np.lexsort((ties_N, _down(seen_N), _down(counts_N)))
    if evict is Evict.RECENCY:
        return np.lexsort((ties_N, _down(counts_N), _down(seen_N)))
    both_N = _num_below(counts_N) + _num_below(seen_N)
    return np.lexsort((ties_N, _down(seen_N), _down(counts_N), -both_N))


def _down(values_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers in the opposite order; unlike negation it has one for the least int64."""
    return ~values_N


def _num_below(values_N: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.searchsorted(np.sort(values_N), values_N, side="left").astype(np.int64)

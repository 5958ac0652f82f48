"""Order statistics of many numbers, exactly, from runs that several threads sorted.

Shape suffixes: N values, Q questions, C chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import fsum, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embsnap.kernels.compiler import frozen, summing_kernel
from embsnap.kernels.threads import run, split

__all__ = ["SortedRuns", "mean_and_std"]

_MAGNITUDE = np.int64((1 << 63) - 1)
_RUN_VALUES = 1 << 16
"""Fewer are not worth a thread."""
_CHUNK = 1 << 12
"""Values that are summed on their own before the sums are added exactly."""
_SAFE = 1e100
"""Squares of as many numbers up to this, and down to its inverse, stay within float64."""


class SortedRuns:
    """Values in order. What they answer does not depend on how many runs they are in."""

    def __init__(self, runs: Sequence[NDArray[np.float64]]) -> None:
        """Of runs that ascend, each with its NaNs last; NaNs are no values."""
        self._runs = [sorted_N[: int(np.searchsorted(sorted_N, np.inf, side="right"))] for sorted_N in runs]
        self.num = sum(len(values) for values in self._runs)

    @classmethod
    def of(
        cls, values_N: NDArray[np.float64], into_N: NDArray[np.float64] | None = None, *, threads: int = 1
    ) -> SortedRuns:
        """Sort values into `into_N`, or into an array of its own, which has to stay as it is from then on."""
        sorted_N = np.empty(len(values_N)) if into_N is None else into_N

        def sort(start: int, end: int) -> NDArray[np.float64]:
            part_N = sorted_N[start:end]
            part_N[...] = values_N[start:end]
            part_N.sort()
            return part_N

        num_runs = min(threads, -(-len(values_N) // _RUN_VALUES))
        return cls(run([partial(sort, *bounds) for bounds in split(len(values_N), num_runs)], threads))

    def num_below(self, bounds_Q: ArrayLike) -> NDArray[np.int64]:
        """How many values are less than each bound."""
        return self._num(bounds_Q, "left")

    def num_up_to(self, bounds_Q: ArrayLike) -> NDArray[np.int64]:
        """How many values are at most each bound."""
        return self._num(bounds_Q, "right")

    def at(self, ranks_Q: Sequence[int]) -> list[float]:
        """The values at some places, from 0 on, of all in order."""
        if len(self._runs) == 1:
            return [float(self._runs[0][rank]) for rank in ranks_Q]
        ranks = np.array(ranks_Q, np.int64)
        held = [values[[0, -1]] for values in self._runs if len(values)]
        low = np.full(len(ranks), _keys(np.min(held)))
        high = np.full(len(ranks), _keys(np.max(held)))
        while (low < high).any():
            middle = (low & high) + ((low ^ high) >> 1)  # the lower middle, whatever the signs
            is_reached = self.num_up_to(_values(middle)) > ranks
            low, high = np.where(is_reached, low, middle + 1), np.where(is_reached, middle, high)
        return [value + 0.0 for value in _values(low).tolist()]  # -0.0 is as good as 0.0

    def percentiles(self, percentiles: Sequence[float], first: int = 0) -> list[float]:
        """Of the values from place `first` on, of which there is at least one; as `numpy.percentile`, linearly."""
        last = self.num - 1
        places = [percentile / 100 * (last - first) for percentile in percentiles]
        belows = [min(first + int(place), last) for place in places]
        ranks = sorted({rank for below in belows for rank in (below, min(below + 1, last))})
        values = dict(zip(ranks, self.at(ranks), strict=True))
        return [
            _between(values[below], values[min(below + 1, last)], place - int(place))
            for place, below in zip(places, belows, strict=True)
        ]

    def _num(self, bounds_Q: ArrayLike, side: Any) -> NDArray[np.int64]:
        counts = [np.searchsorted(values, bounds_Q, side=side) for values in self._runs]
        total_Q: NDArray[np.int64] = np.sum(counts, axis=0, dtype=np.int64)
        return total_Q


def mean_and_std(values_N: NDArray[np.float64], num: int, largest: float, *, threads: int = 1) -> tuple[float, float]:
    """Mean and standard deviation of those values that are not NaN, the same for any number of threads.

    Args:
        values_N: `float64[N]`, none infinite.
        num: How many are not NaN, at least one.
        largest: The largest magnitude among them; numbers far from 1 are taken in units of it.
        threads: How many threads work on it.
    """
    if largest == 0.0:
        return 0.0, 0.0
    unit = 1.0 if 1 / _SAFE < largest < _SAFE else largest
    values_N = frozen(values_N, np.float64)
    ranges = split(-(-len(values_N) // _CHUNK), threads)

    def total(kernel: Any, *more: float) -> float:
        sums_C = np.empty(-(-len(values_N) // _CHUNK))
        run([partial(kernel, values_N, *bounds, unit, *more, sums_C) for bounds in ranges], threads)
        return fsum(sums_C.tolist())

    mean = total(_sum) / num
    return mean * unit, sqrt(total(_sum_squares, mean) / num) * unit


def _between(low: float, high: float, weight: float) -> float:
    return low + (high - low) * weight if weight < 0.5 else high - (high - low) * (1 - weight)


def _keys(values: Any) -> Any:
    """int64 that are ordered as the float64 are."""
    bits = np.asarray(values, np.float64).view(np.int64)
    return np.where(bits < 0, bits ^ _MAGNITUDE, bits)


def _values(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """The inverse of `_keys`."""
    return np.where(keys < 0, keys ^ _MAGNITUDE, keys).view(np.float64)


@summing_kernel
def _sum(values_N: Any, first: int, last: int, unit: float, sums_C: Any) -> None:
    for chunk in range(first, last):
        total = 0.0
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(values_N))):
            value = values_N[i] / unit
            total += 0.0 if np.isnan(value) else value
        sums_C[chunk] = total


@summing_kernel
def _sum_squares(values_N: Any, first: int, last: int, unit: float, mean: float, sums_C: Any) -> None:
    for chunk in range(first, last):
        total = 0.0
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(values_N))):
            step = values_N[i] / unit - mean
            total += 0.0 if np.isnan(step) else step * step
        sums_C[chunk] = total

"""Order statistics of many numbers, exactly, from buckets that are sorted once they are asked about.

Shape suffixes: N values, Q questions, B buckets, S sampled values, C chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import fsum, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embsnap.kernels.compiler import frozen, kernel, primitive, summing_kernel
from embsnap.kernels.threads import run, split

__all__ = ["OrderStatistics", "mean_and_std"]

_NUM_BUCKETS = 1 << 10
_SAMPLED = 1 << 12
_TAIL = 256
"""One in as many sampled values lies in the first bucket, and one in the last."""
_PART_VALUES = 1 << 16
"""Fewer are not worth a thread."""
_CHUNK = 1 << 12
"""Values that are summed on their own before the sums are added exactly."""
_SAFE = 1e100
"""Squares of as many numbers up to this, and down to its inverse, stay within float64."""


class OrderStatistics:
    """What would be seen of values in order, had they all been sorted; NaNs are no values.

    A few percentiles and a histogram's edges lie in a few buckets; only these are ever sorted. How values are spread
    over buckets changes how long that takes, and no answer.
    """

    def __init__(
        self, values_N: NDArray[np.float64], into_N: NDArray[np.float64] | None = None, *, threads: int = 1
    ) -> None:
        """Spread values over buckets in `into_N`, or in an array of its own, which has to stay as it is from then on.

        Args:
            values_N: `float64[N]`; they stay as they are.
            into_N: `float64[N]`.
            threads: How many threads work on it.
        """
        values_N = frozen(values_N, np.float64)
        self._values_N = np.empty(len(values_N)) if into_N is None else into_N
        self._scale = _scale(values_N)
        ranges = split(len(values_N), min(threads, -(-len(values_N) // _PART_VALUES))) or [(0, 0)]
        counts_TB = np.zeros((len(ranges), _NUM_BUCKETS), np.int64)
        parts = [(values_N, *bounds, *self._scale) for bounds in ranges]
        run([partial(_count, *part, counts_B) for part, counts_B in zip(parts, counts_TB, strict=True)], threads)
        ends_TB = np.cumsum(counts_TB.T.reshape(-1)).reshape(_NUM_BUCKETS, len(ranges)).T
        self._bounds_B = np.concatenate([[0], ends_TB[-1]])
        self._is_sorted_B = np.zeros(_NUM_BUCKETS, np.bool_)
        cursors_TB = ends_TB - counts_TB
        run(
            [partial(_spread, *part, at_B, self._values_N) for part, at_B in zip(parts, cursors_TB, strict=True)],
            threads,
        )
        self.num = int(self._bounds_B[-1])

    def num_below(self, bounds_Q: ArrayLike) -> NDArray[np.int64]:
        """How many values are less than each bound."""
        return self._num(bounds_Q, "left")

    def num_up_to(self, bounds_Q: ArrayLike) -> NDArray[np.int64]:
        """How many values are at most each bound."""
        return self._num(bounds_Q, "right")

    def at(self, ranks_Q: Sequence[int]) -> list[float]:
        """The values at some places, from 0 on, of all in order."""
        buckets = np.searchsorted(self._bounds_B, np.array(ranks_Q, np.int64), side="right") - 1
        pairs = zip(buckets.tolist(), ranks_Q, strict=True)
        found = (self._bucket(bucket)[rank - self._bounds_B[bucket]] for bucket, rank in pairs)
        return [float(value) + 0.0 for value in found]  # -0.0 is as good as 0.0

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
        bounds = np.asarray(bounds_Q, np.float64)
        buckets = _buckets(np.ravel(bounds), *self._scale).tolist()
        pairs = zip(buckets, bounds.flat, strict=True)
        nums = [self._bounds_B[bucket] + np.searchsorted(self._bucket(bucket), x, side=side) for bucket, x in pairs]
        return np.array(nums, np.int64).reshape(bounds.shape)

    def _bucket(self, bucket: int) -> NDArray[np.float64]:
        """The values of one bucket, in order."""
        values = self._values_N[self._bounds_B[bucket] : self._bounds_B[bucket + 1]]
        if not self._is_sorted_B[bucket]:
            values.sort()
            self._is_sorted_B[bucket] = True
        return values


def _scale(values_N: NDArray[np.float64]) -> tuple[float, float, float]:
    """Where the second bucket begins, where the last one does, and how many buckets there are between per unit."""
    sampled_S = values_N[:: max(1, len(values_N) // _SAMPLED)]
    sampled_S = np.sort(sampled_S[np.isfinite(sampled_S)])
    if not len(sampled_S):
        return 0.0, 0.0, 0.0
    tail = len(sampled_S) // _TAIL
    low, high = float(sampled_S[tail]), float(sampled_S[-1 - tail])
    with np.errstate(over="ignore", divide="ignore"):
        per_unit = float((_NUM_BUCKETS - 2) / (np.float64(high) - low))
    return (low, high, per_unit) if 0.0 < per_unit < np.inf else (low, low, 0.0)


@primitive
def _bucket_of(value: Any, low: Any, high: Any, per_unit: Any) -> Any:
    """The bucket of a value that is not NaN; never less for a greater value."""
    if value < low:
        return 0
    return _NUM_BUCKETS - 1 if value >= high else min(_NUM_BUCKETS - 2, 1 + int((value - low) * per_unit))


@kernel
def _buckets(values_N: Any, low: float, high: float, per_unit: float) -> Any:
    found = np.empty(len(values_N), np.int64)
    for i in range(len(values_N)):
        found[i] = _bucket_of(values_N[i], low, high, per_unit)
    return found


@kernel
def _count(values_N: Any, start: int, end: int, low: float, high: float, per_unit: float, counts_B: Any) -> None:
    for i in range(start, end):
        if not np.isnan(values_N[i]):
            counts_B[_bucket_of(values_N[i], low, high, per_unit)] += 1


@kernel
def _spread(
    values_N: Any, start: int, end: int, low: float, high: float, per_unit: float, cursors_B: Any, into_N: Any
) -> None:
    for i in range(start, end):
        if not np.isnan(values_N[i]):
            bucket = _bucket_of(values_N[i], low, high, per_unit)
            into_N[cursors_B[bucket]] = values_N[i]
            cursors_B[bucket] += 1


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

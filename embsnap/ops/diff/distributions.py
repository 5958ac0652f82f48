"""From many numbers to a distribution.

Shape suffixes: V values, NaN among them where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.order_statistics import OrderStatistics, mean_and_std
from embsnap.model.distribution import Distribution, Histogram

__all__ = ["DEFAULT_PERCENTILES", "percentile_name", "percentile_of", "spread"]

DEFAULT_PERCENTILES = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0)
_NUM_BINS = 64
_DECADES = 8
"""Of a logarithmic histogram; smaller values are counted as below it."""


def percentile_of(name: str) -> float | None:
    """`p5` → 5.0, `p99_9` → 99.9; None for anything else or beyond 100."""
    digits = name[1:].replace("_", ".", 1)
    if not name.startswith("p") or not digits.replace(".", "", 1).isdecimal() or not digits[0].isdecimal():
        return None
    return float(digits) if float(digits) <= 100 else None


def spread(
    values_V: NDArray[np.float64],
    percentiles: Iterable[float],
    *,
    logarithmic: bool,
    scratch_V: NDArray[np.float64] | None = None,
    threads: int = 1,
) -> Distribution | None:
    """Of the values that are not NaN; None if there are none.

    Args:
        values_V: `float64[V]`, finite or NaN; not negative if the histogram is to be logarithmic.
        percentiles: Each from 0 to 100; interpolated linearly between two values, as numpy does.
        logarithmic: Whether the histogram's bins are equally wide as ratios, up to `max`, instead of as differences.
        scratch_V: `float64[V]` to sort the values in; else room is made.
        threads: How many threads work on it, which changes nothing.
    """
    ordered = OrderStatistics(values_V, scratch_V, threads=threads)
    if not ordered.num:
        return None
    low, high = ordered.at([0, ordered.num - 1])
    mean, std = mean_and_std(values_V, ordered.num, max(abs(low), abs(high)), threads=threads)
    wanted = sorted(set(percentiles))
    return Distribution(
        num=ordered.num,
        mean=mean,
        std=std,
        min=low,
        max=high,
        percentiles={percentile_name(p): value for p, value in zip(wanted, ordered.percentiles(wanted), strict=True)},
        histogram=_histogram(ordered, _logarithmic(high) if logarithmic else _linear(low, high)),
    )


def _histogram(ordered: OrderStatistics, edges: NDArray[np.float64]) -> Histogram:
    """A bin holds its lower edge and not its upper one, except the last, which holds both."""
    reached = ordered.num_below(edges)
    reached[-1] = ordered.num_up_to(edges[-1])
    counts = np.diff(reached).tolist()
    return Histogram(tuple(edges.tolist()), tuple(counts), int(reached[0]), ordered.num - int(reached[-1]))


def percentile_name(percentile: float) -> str:
    """5.0 → `p5`, 99.9 → `p99_9`: all digits, so that no two have one name."""
    return "p" + np.format_float_positional(percentile, trim="-").replace(".", "_")


def _linear(low: float, high: float) -> NDArray[np.float64]:
    return np.linspace(low, high if high > low else low + 1e-9, _NUM_BINS + 1)


def _logarithmic(high: float) -> NDArray[np.float64]:
    top = high if high > 0 else 1.0
    edges = top * 10.0 ** np.linspace(-_DECADES, 0, _NUM_BINS + 1)
    edges[-1] = top
    return edges

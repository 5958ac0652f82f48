"""Random samples of rows, and how far their statistics may be from the table's.

Shape suffixes: V rows of a table, S rows of a sample, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, floor, sqrt

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.order_statistics import OrderStatistics
from embsnap.kernels.row_sums import RowSums, combined
from embsnap.model.statistics import row_counts
from embsnap.model.table_stats import PERCENTILES, Interval, NormStats, RowStats
from embsnap.ops.stats.spectrum import mean_cosine, spectrum

__all__ = ["NUM_GROUPS", "intervals", "sample", "sample_groups"]

NUM_GROUPS = 10
"""Groups of a sample, each of which is left out once."""
_Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""
_T = 2.2621571627409915
"""97.5 % quantile of Student's distribution with `NUM_GROUPS - 1` degrees of freedom."""
_BIAS_STEP = sqrt(NUM_GROUPS / (NUM_GROUPS - 1)) - 1
"""By how much of itself a bias in 1/√S grows when one group is left out."""


def sample(num_rows: int, num_wanted: int, seed: int) -> NDArray[np.int64]:
    """`num_wanted` different rows of `num_rows`, ascending, each set of them equally likely."""
    rows_S = np.random.default_rng(seed).choice(num_rows, num_wanted, replace=False, shuffle=False)
    return np.sort(rows_S).astype(np.int64)


def sample_groups(num_rows: int) -> NDArray[np.uint8]:
    """Which of `NUM_GROUPS` groups each of a sample's rows is in."""
    return (np.arange(num_rows) % NUM_GROUPS).astype(np.uint8)


def intervals(
    rows: RowStats, sums_G: Sequence[RowSums], ordered: OrderStatistics, num_rows: int
) -> dict[str, Interval]:
    """95 % confidence intervals by name of statistic.

    The mean norm's is the normal one with the finite population's correction; a percentile's lies between two order
    statistics; a share's is Wilson's; those of the spectrum and the cosine come from the jackknife that leaves out one
    group at a time, with Student's quantile. Ranks of small samples are too small by about 1/√S; what the jackknife
    says of that widens the interval to the side where the truth is.

    Args:
        rows: Statistics of the sample.
        sums_G: Sums of its groups, `NUM_GROUPS` of them.
        ordered: Its finite norms.
        num_rows: V, of which it is a sample.
    """
    found = dict(_shares(rows))
    if rows.norms is not None:
        found |= dict(_norms(rows.norms, ordered, num_rows))
    dim = len(rows.dim_means)
    for name, of in _spread(rows).items():
        values = [of(_without(sums_G, group, dim)) for group in range(NUM_GROUPS)]
        whole = of(combined(sums_G, dim, gram=bool(sums_G[0].gram_DD.size)))
        known = [value for value in values if value is not None]
        if whole is not None and len(known) == NUM_GROUPS:
            mean = sum(known) / NUM_GROUPS
            error = _T * sqrt((NUM_GROUPS - 1) / NUM_GROUPS * sum((value - mean) ** 2 for value in known))
            unbiased = whole - (mean - whole) / _BIAS_STEP
            found[name] = Interval(min(whole, unbiased) - error, max(whole, unbiased) + error)
    return found


def _shares(rows: RowStats) -> Iterator[tuple[str, Interval]]:
    """Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927)."""
    n = rows.num_rows
    for name, count in row_counts(rows):
        share, square = count / n, _Z * _Z / n
        centre = (share + square / 2) / (1 + square)
        half = _Z / (1 + square) * sqrt(share * (1 - share) / n + square / (4 * n))
        yield f"rows.{name}_share", Interval(max(0.0, centre - half), min(1.0, centre + half))


def _norms(norms: NormStats, ordered: OrderStatistics, num_rows: int) -> Iterator[tuple[str, Interval]]:
    n = ordered.num
    if n > 1:
        error = _Z * norms.std / sqrt(n - 1) * sqrt(max(0.0, 1 - n / num_rows))
        yield "norm.mean", Interval(norms.mean - error, norms.mean + error)
    for q in PERCENTILES[1:-1]:
        place, half = n * q / 100, _Z * sqrt(n * q / 100 * (1 - q / 100))
        low, high = max(0, floor(place - half) - 1), min(n - 1, ceil(place + half))
        yield f"norm.p{q}", Interval(*ordered.at([low, high]))


def _without(sums_G: Sequence[RowSums], group: int, dim: int) -> RowSums:
    others = [sums for number, sums in enumerate(sums_G) if number != group]
    return combined(others, dim, gram=bool(sums_G[0].gram_DD.size))


def _spread(rows: RowStats) -> dict[str, Callable[[RowSums], float | None]]:
    """What is computed anew without each group."""
    wanted: dict[str, Callable[[RowSums], float | None]] = {"cosine.mean": mean_cosine}
    if rows.spectrum is not None:
        for name in ("effective_rank", "stable_rank", "information_abundance", "centred_effective_rank", "iso_score"):
            wanted[f"spectrum.{name}"] = _part_of_spectrum(name)
    return wanted


def _part_of_spectrum(name: str) -> Callable[[RowSums], float | None]:
    def compute(sums: RowSums) -> float | None:
        found = spectrum(sums)
        value: float | None = None if found is None else getattr(found, name)
        return value

    return compute

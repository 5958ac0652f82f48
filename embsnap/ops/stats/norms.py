"""Percentiles, moments and histogram of norms, exactly.

Shape suffixes: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.order_statistics import OrderStatistics, mean_and_std
from embsnap.model.table_stats import PERCENTILES, NormHistogram, NormStats

__all__ = ["SortedNorms"]

_MAX_BINS = 96
_FINEST, _MANTISSA_BITS = 6, 52


@dataclass(frozen=True, slots=True, eq=False)
class SortedNorms:
    """Norms of some rows in order."""

    norms_N: NDArray[np.float64]
    """As they came; NaN for rows that are not finite, and none is infinite."""
    ordered: OrderStatistics
    """Of the finite rows."""
    threads: int

    @classmethod
    def of(
        cls, norms_N: NDArray[np.float64], into: NDArray[np.float64] | None = None, *, threads: int = 1
    ) -> SortedNorms:
        """Sort norms in `into`, or in an array of its own."""
        return cls(norms_N, OrderStatistics(norms_N, into, threads=threads), threads)

    def num_up_to(self, norm: float) -> int:
        """Rows whose norm is at most `norm`."""
        return int(self.ordered.num_up_to(norm))

    @property
    def num_finite(self) -> int:
        """Rows that have a norm."""
        return self.ordered.num

    @property
    def num_dead(self) -> int:
        """Rows of norm 0."""
        return self.num_up_to(0.0)

    def exploded_norm(self, factor: float) -> float | None:
        """`factor` times the 99th percentile of the norms above 0; None without one."""
        num_dead = self.num_dead
        return factor * self.ordered.percentiles([99], num_dead)[0] if self.num_finite > num_dead else None

    def stats(self) -> NormStats | None:
        """What there is to say of the finite ones; None without one."""
        if not self.num_finite:
            return None
        largest = self.ordered.at([self.num_finite - 1])[0]
        mean, std = mean_and_std(self.norms_N, self.num_finite, largest, threads=self.threads)
        names = [f"p{q}" for q in PERCENTILES]
        values = dict(zip(names, self.ordered.percentiles(PERCENTILES), strict=True))
        return NormStats(mean, std, values, _histogram(self.ordered, self.num_dead))


def _histogram(ordered: OrderStatistics, num_dead: int) -> NormHistogram:
    """Bins by the leading bits of a float64: each octave is cut into equal parts, and edges are exact."""
    if ordered.num == num_dead:
        return NormHistogram(1, (), ())
    first, last = (int(np.float64(value).view(np.int64)) for value in ordered.at([num_dead, ordered.num - 1]))
    bits = _FINEST
    while bits and (last >> (_MANTISSA_BITS - bits)) - (first >> (_MANTISSA_BITS - bits)) >= _MAX_BINS:
        bits -= 1
    shift = _MANTISSA_BITS - bits
    edges = (np.arange(first >> shift, (last >> shift) + 2) << shift).view(np.float64)
    reached = ordered.num_below(edges)
    reached[0] = max(int(reached[0]), num_dead)
    return NormHistogram(1 << bits, tuple(edges.tolist()), tuple(np.diff(reached).tolist()))

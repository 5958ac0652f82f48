"""What is known of the rows in hand, and the statistics of any part of them.

Shape suffixes: D embedding_dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.row_sums import RowSums
from embsnap.model.table_stats import RowStats
from embsnap.ops.stats.norms import SortedNorms
from embsnap.ops.stats.options import StatsOptions
from embsnap.ops.stats.scan import Scanned
from embsnap.ops.stats.spectrum import mean_cosine, spectrum

__all__ = ["Gathered"]


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """All that is known of the rows in hand, S of a sample or V."""

    options: StatsOptions
    scanned: Scanned
    sorted: SortedNorms
    exploded_norm: float | None
    untouched: NDArray[np.bool_] | None

    def stats(self, sums: RowSums, sorted_norms: SortedNorms, num_untouched: int | None) -> RowStats:
        """Of all rows, or of some of them."""
        num_rows, num_finite = len(sorted_norms.norms_N), sorted_norms.num_finite
        explodes = 0 if self.exploded_norm is None else num_finite - sorted_norms.num_up_to(self.exploded_norm)
        count = max(1, sums.num_rows)
        means = sums.mean_D if sums.num_rows else np.full_like(sums.mean_D, np.nan)
        stds = np.sqrt(sums.square_D / count) if sums.num_rows else means
        return RowStats(
            num_rows=num_rows,
            num_non_finite=num_rows - num_finite,
            num_dead=sorted_norms.num_dead,
            num_near_zero=sorted_norms.num_up_to(self.options.near_zero),
            num_exploded=explodes,
            num_never_updated=num_untouched,
            norms=sorted_norms.stats(),
            mean_cosine=mean_cosine(sums),
            dim_means=tuple(means.tolist()),
            dim_stds=tuple(stds.tolist()),
            spectrum=spectrum(sums),
        )

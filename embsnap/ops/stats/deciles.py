"""Statistics of a table by how often its entities were seen.

Shape suffixes: V rows of a table, S rows of a sample, N entities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.row_sums import RowSums, combined
from embsnap.model.table_stats import DecileStats, Popularity, RowStats
from embsnap.ops.stats.gathered import Gathered
from embsnap.ops.stats.norms import SortedNorms
from embsnap.ops.stats.popularity import NUM_DECILES, Ranked, rank_correlation

__all__ = ["popularity_of"]


def popularity_of(
    ranked: Ranked, gathered: Gathered, decile_V: NDArray[np.uint8], rows_S: NDArray[np.int64] | None, num_rows: int
) -> Popularity:
    """Of the entities whose rows are in hand.

    Args:
        ranked: The vocabulary's entities by falling counts.
        gathered: Of the rows in hand.
        decile_V: Decile of each row in hand, 0 for none.
        rows_S: Rows of a sample, ascending; None for all rows.
        num_rows: V.
    """
    place_V = np.full(num_rows, -1, np.int64) if rows_S is not None else None
    if place_V is not None and rows_S is not None:
        place_V[rows_S] = np.arange(len(rows_S))
    places_N = ranked.rows_N if place_V is None else place_V[ranked.rows_N]
    in_hand = places_N >= 0
    norms_N, counts_N = gathered.scanned.norms_V[places_N[in_hand]], ranked.counts_N[in_hand]
    finite = np.isfinite(norms_N)
    return Popularity(
        vocabulary=ranked.vocabulary.uri,
        num_entities=len(ranked.vocabulary),
        num_unoccupied=num_rows - len(ranked.vocabulary),
        norm_correlation=rank_correlation(norms_N[finite], counts_N[finite]),
        deciles=tuple(
            DecileStats(
                number=number,
                num_entities=end - start,
                max_count=int(ranked.counts_N[start]),
                min_count=int(ranked.counts_N[end - 1]),
                rows=_decile(number, gathered, decile_V),
            )
            for number, (start, end) in enumerate(ranked.bounds, 1)
        ),
    )


def _decile(number: int, gathered: Gathered, decile_V: NDArray[np.uint8]) -> RowStats:
    members = np.flatnonzero(decile_V == number)
    dim = len(gathered.scanned.sums_G[0].mean_D)
    sums = combined(_of_decile(gathered.scanned.sums_G, number), dim, gram=gathered.options.spectrum)
    untouched = gathered.untouched
    num_untouched = None if untouched is None else int(untouched[members].sum())
    return gathered.stats(sums, SortedNorms.of(gathered.scanned.norms_V[members]), num_untouched)


def _of_decile(sums_G: Sequence[RowSums], number: int) -> Sequence[RowSums]:
    per_decile = len(sums_G) // (NUM_DECILES + 1)
    return sums_G[number * per_decile : (number + 1) * per_decile]

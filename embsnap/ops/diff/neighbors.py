"""How many of its nearest neighbours an entity keeps.

Shape suffixes: V rows of B's table, Q sampled entities, K neighbours of each, N rows in hand.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.nearest import Nearest, merged
from embsnap.model.snapshot_diff import NeighborOverlap
from embsnap.ops.diff.matching import MatchedRows
from embsnap.ops.diff.paired_rows import PairedRows

__all__ = ["NeighborSearch"]


class NeighborSearch:
    """The neighbours of a sample of shared entities on both sides, all rows named as B numbers them."""

    def __init__(self, paired: PairedRows, matched: MatchedRows, *, k: int, num_sampled: int, threads: int) -> None:
        """Draw the sample and read its rows."""
        self._k, self._num_candidates = k, matched.matching.num_shared
        self._rows_Q = matched.sample(num_sampled, threads)
        self._queries = paired.at(self._rows_Q)
        self._parts: list[tuple[Nearest, Nearest]] = []

    def new_visitor(self) -> Any:
        """What looks at the blocks of one range."""
        a, b = (Nearest(queries_QD, self._k, self._rows_Q) for queries_QD in self._queries)
        self._parts.append((a, b))

        def visit(start: int, a_ND: NDArray[Any], b_ND: NDArray[Any], shared_N: NDArray[np.bool_]) -> None:
            a.add(start, a_ND, shared_N)
            b.add(start, b_ND, shared_N)

        return visit

    def result(self) -> NeighborOverlap:
        """Once all blocks were seen. Entities without any neighbour on either side are left out."""
        in_a, in_b = (merged([pair[side] for pair in self._parts]) if self._parts else [] for side in (0, 1))
        pairs = [(set(a.tolist()), set(b.tolist())) for (a, _), (b, _) in zip(in_a, in_b, strict=True)]
        pairs = [(a, b) for a, b in pairs if a and b]
        kept = [len(a & b) for a, b in pairs]
        shares = np.array([num / max(len(a), len(b)) for num, (a, b) in zip(kept, pairs, strict=True)])
        histogram = np.bincount(np.array(kept, np.int64), minlength=self._k + 1)
        return NeighborOverlap(
            k=self._k,
            num_sampled=len(pairs),
            num_candidates=self._num_candidates,
            mean=float(shares.mean()) if len(pairs) else None,
            half_width=1.96 * float(shares.std(ddof=1)) / sqrt(len(pairs)) if len(pairs) > 1 else None,
            histogram=tuple(histogram.tolist()),
        )

"""How far the rows of shared entities went.

Shape suffixes: V rows of B's table, D embedding_dim, N rows in hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.pairs import IDENTICAL, NON_FINITE, ZERO, Comparison, compare_rows
from embsnap.model.distribution import Distribution
from embsnap.model.snapshot_diff import Beyond, Drift, MovedRow
from embsnap.ops.diff.conditions import Condition
from embsnap.ops.diff.distributions import spread
from embsnap.ops.diff.matching import MatchedRows
from embsnap.ops.diff.options import MoverOrder
from embsnap.ops.diff.paired_rows import PairedRows

__all__ = ["DRIFT_MEASURES", "DriftCollector", "top_movers"]

_CHUNK = 1 << 16
DRIFT_MEASURES = ("cosine", "relative_l2", "distance")


class DriftCollector:
    """The figures of every shared row, filled by blocks from any thread.

    Attributes:
        compared: Of each row of B with its counterpart; without norms.
        figures_V: Cosine, relative L2 and distance in it, NaN where there is none.
    """

    def __init__(self, num_rows: int) -> None:
        """Room for `num_rows` rows of B: 25 bytes each."""
        self.compared = Comparison.empty(num_rows, norms=False)
        figures = (self.compared.cosine_N, self.compared.relative_N, self.compared.distance_N)
        self.figures_V = dict(zip(DRIFT_MEASURES, figures, strict=True))

    def add(self, start: int, a_ND: NDArray[Any], b_ND: NDArray[Any], shared_N: NDArray[np.bool_]) -> None:
        """Compare one block of pairs, the first of which is B's row `start`."""
        compare_rows(a_ND, b_ND, shared_N, self.compared.part(start, start + len(b_ND)))

    def result(self, thresholds: Sequence[Condition], percentiles: Sequence[float], threads: int) -> Drift:
        """All of it, once every row is in."""
        scratch_V = np.empty(len(self.compared.flags_N))
        cosine, relative_l2, distance = (
            spread(values_V, percentiles, logarithmic=name != "cosine", scratch_V=scratch_V, threads=threads)
            for name, values_V in self.figures_V.items()
        )
        nums = {"cosine": _num(cosine), "relative_l2": _num(relative_l2), "distance": _num(distance)}
        return Drift(
            num_identical=self._num(IDENTICAL),
            num_non_finite=self._num(NON_FINITE),
            num_zero=self._num(ZERO),
            cosine=cosine,
            relative_l2=relative_l2,
            distance=distance,
            beyond=tuple(self._beyond(threshold, nums[threshold.measure]) for threshold in thresholds),
        )

    def furthest(self, num: int, order: MoverOrder) -> NDArray[np.int64]:
        """The rows of B that went furthest, the furthest first, ties by row; none that stayed where they were."""
        figures_V, sign = self.figures_V[order.value.replace("-", "_")], -1.0 if order is MoverOrder.COSINE else 1.0
        rows_N, keys_N, least = np.empty(0, np.int64), np.empty(0), -np.inf
        for start in range(0, len(figures_V) if num else 0, _CHUNK):
            here = slice(start, start + _CHUNK)
            keys = sign * figures_V[here]
            found = np.flatnonzero((keys > least) & (self.compared.distance_N[here] > 0))
            if len(found):
                rows_N, keys_N = np.concatenate([rows_N, start + found]), np.concatenate([keys_N, keys[found]])
                best = np.lexsort((rows_N, -keys_N))[:num]
                rows_N, keys_N = rows_N[best], keys_N[best]
                least = keys_N[-1] if len(best) == num else -np.inf
        return rows_N

    def _num(self, flag: np.uint8) -> int:
        return int(np.count_nonzero(self.compared.flags_N & flag))

    def _beyond(self, threshold: Condition, num_values: int) -> Beyond:
        num = threshold.count(self.figures_V[threshold.measure])
        return Beyond(threshold.text, num, num / num_values if num_values else None)


def top_movers(paired: PairedRows, matched: MatchedRows, rows_N: NDArray[np.int64]) -> tuple[MovedRow, ...]:
    """Some shared rows of B with their entities and figures, in their order."""
    a_ND, b_ND = paired.at(rows_N)
    compared, entities = compare_rows(a_ND, b_ND, np.ones(len(rows_N), np.bool_)), matched.entities(rows_N.tolist())
    movers = []
    for i, row in enumerate(rows_N.tolist()):
        entity = entities.get(row)
        mover = MovedRow(
            id=None if entity is None else entity.id,
            row_a=int(matched.rows_a(row, row + 1)[0]),
            row_b=row,
            count=None if entity is None else entity.count,
            norm_a=float(compared.norm_a_N[i]),
            norm_b=float(compared.norm_b_N[i]),
            distance=float(compared.distance_N[i]),
            cosine=_known(compared.cosine_N[i]),
            relative_l2=_known(compared.relative_N[i]),
        )
        movers.append(mover)
    return tuple(movers)


def _num(found: Distribution | None) -> int:
    return 0 if found is None else found.num


def _known(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)

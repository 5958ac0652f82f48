"""The figures of a run of pooled lookups, gathered batch by batch.

Shape suffixes: B bags of a batch, D embedding_dim, V rows of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embsnap.config.embedding import StratifierConfig
from embsnap.model.pooling import AccessSkew, PooledChange, PooledStratum
from embsnap.ops.pool.rows import RowBags

__all__ = ["ChangeFigures", "StratumFigures", "TableFigures", "in_stratum", "stratum_figures"]


@dataclass(slots=True, eq=False)
class TableFigures:
    """Of one table. Memory: 8 bytes per row."""

    num_embeddings: int
    num_bags: int = 0
    num_rows: int = 0
    """Looked up."""
    num_ids: int = 0
    num_unknown: int = 0
    num_empty_bags: int = 0
    max_bag: int = 0
    norm_sum: float = 0.0
    lookups_V: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """No row was looked up yet."""
        self.lookups_V = np.zeros(self.num_embeddings, np.int64)

    def add(self, bags: RowBags, num_ids: int, pooled_BD: NDArray[np.float32]) -> None:
        """Count a batch; `num_ids` were asked for."""
        self.num_bags += len(bags.lengths_B)
        self.num_rows += len(bags.rows_N)
        self.num_ids += num_ids
        self.num_unknown += int(bags.num_unknown_B.sum())
        self.num_empty_bags += int((bags.lengths_B == 0).sum())
        self.max_bag = max(self.max_bag, int(bags.lengths_B.max(initial=0)))
        self.norm_sum += float(np.linalg.norm(pooled_BD.astype(np.float64), axis=1).sum())
        rows, counts = np.unique(bags.rows_N, return_counts=True)
        self.lookups_V[rows] += counts

    def access(self) -> AccessSkew:
        """How uneven the lookups were."""
        ordered = np.sort(self.lookups_V)[::-1]
        total = max(1, int(ordered.sum()))

        def share(part: float) -> float:
            return float(ordered[: max(1, int(len(ordered) * part))].sum() / total)

        return AccessSkew(int((ordered > 0).sum()), int(ordered[0]), share(0.01), share(0.1))


@dataclass(slots=True, eq=False)
class StratumFigures:
    """Of one table in one stratum."""

    stratum: str
    table: str
    dim: int
    num_examples: int = 0
    norm_sum: float = 0.0
    sum_D: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        """No example yet."""
        self.sum_D = np.zeros(self.dim)

    def add(self, pooled_BD: NDArray[np.float32]) -> None:
        """Add the vectors of the stratum's examples."""
        vectors_BD = pooled_BD.astype(np.float64)
        self.num_examples += len(vectors_BD)
        self.norm_sum += float(np.linalg.norm(vectors_BD, axis=1).sum())
        self.sum_D += vectors_BD.sum(axis=0)

    def result(self) -> PooledStratum:
        """The means."""
        if not self.num_examples:
            return PooledStratum(self.stratum, self.table, 0, None, None)
        mean = tuple(float(value) for value in self.sum_D / self.num_examples)
        return PooledStratum(self.stratum, self.table, self.num_examples, self.norm_sum / self.num_examples, mean)


@dataclass(slots=True, eq=False)
class ChangeFigures:
    """From one model's vectors to the other's. Memory: 8 bytes per bag."""

    num_bags: int = 0
    num_carried: int = 0
    num_identical: int = 0
    num_non_finite: int = 0
    cosines: list[NDArray[np.float32]] = field(default_factory=list)
    distances: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, carried_B: NDArray[np.bool_], a_BD: NDArray[np.float32], b_BD: NDArray[np.float32]) -> None:
        """Compare the vectors of a batch; `carried_B` are the bags all of whose entities both models know."""
        self.num_bags += len(carried_B)
        self.num_carried += int(carried_B.sum())
        same_BD = a_BD[carried_B].view(np.uint32) == b_BD[carried_B].view(np.uint32)
        self.num_identical += int(same_BD.all(axis=1).sum())
        a, b = a_BD[carried_B].astype(np.float64), b_BD[carried_B].astype(np.float64)
        self.num_non_finite += int((~(np.isfinite(a) & np.isfinite(b))).any(axis=1).sum())
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            norms_a, norms_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
            cosines = np.einsum("bd,bd->b", a, b) / (norms_a * norms_b)
            distances = np.linalg.norm(b - a, axis=1) / norms_a
        are_fit = np.isfinite(cosines) & np.isfinite(distances)
        self.cosines.append(cosines[are_fit].astype(np.float32))
        self.distances.append(distances[are_fit].astype(np.float32))

    def result(self) -> PooledChange:
        """How far the vectors went."""
        cosines = np.concatenate([np.empty(0, np.float32), *self.cosines])
        distances = np.concatenate([np.empty(0, np.float32), *self.distances])
        return PooledChange(
            self.num_bags,
            self.num_carried,
            self.num_identical,
            self.num_non_finite,
            median_cosine=_percentile(cosines, 50),
            p5_cosine=_percentile(cosines, 5),
            median_relative_l2=_percentile(distances, 50),
            p95_relative_l2=_percentile(distances, 95),
            max_relative_l2=_percentile(distances, 100),
        )


def in_stratum(stratifier: StratifierConfig, discrete: Any) -> NDArray[np.bool_]:
    """`bool[B]`: the examples whose discrete feature at the stratum's index has its value; a short list has not.

    Nor has any example where the index or the value is beyond what the column can have.
    """
    lengths = pc.list_value_length(discrete)
    try:
        index = pa.scalar(stratifier.index, lengths.type)
        value = pa.scalar(stratifier.value, discrete.type.value_type)
    except (pa.ArrowInvalid, OverflowError):
        return np.zeros(len(discrete), np.bool_)
    is_long = pc.fill_null(pc.greater(lengths, index), False)
    inside_B = np.array(is_long.to_pylist(), np.bool_)
    values = pc.list_element(discrete.filter(is_long), stratifier.index)
    inside_B[inside_B] = np.array(pc.fill_null(pc.equal(values, value), False).to_pylist(), np.bool_)
    return inside_B


def stratum_figures(stratifiers: Sequence[StratifierConfig], dims: dict[str, int]) -> list[StratumFigures]:
    """One for each stratum and table."""
    return [StratumFigures(found.name, table, dim) for found in stratifiers for table, dim in dims.items()]


def _percentile(values: NDArray[np.float32], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if len(values) else None

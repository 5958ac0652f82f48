"""A table's rows by how often their entities were seen.

Shape suffixes: V rows of a table, N entities with a row in hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.rows import check_rows
from embsnap.kernels.threads import split
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.vocabulary_findings import refuse_errors, row_errors

__all__ = ["NUM_DECILES", "Ranked", "rank_correlation", "rank_rows"]

NUM_DECILES = 10


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The rows of a vocabulary's entities by falling counts, equal ones by row."""

    vocabulary: Vocabulary
    rows_N: NDArray[np.int64]
    counts_N: NDArray[np.int64]
    bounds: tuple[tuple[int, int], ...]
    """Half-open range of each decile in `rows_N`; fewer than ten if there are fewer entities."""

    def deciles_of_rows(self, num_rows: int) -> NDArray[np.uint8]:
        """`uint8[V]`: 1 … 10, or 0 for a row without an entity."""
        decile_V = np.zeros(num_rows, np.uint8)
        for number, (start, end) in enumerate(self.bounds, 1):
            decile_V[self.rows_N[start:end]] = number
        return decile_V


def rank_rows(vocabulary: Vocabulary, num_embeddings: int) -> Ranked:
    """Rank the rows of a table by their entities' counts.

    Raises:
        IncompatibleError: `duplicate-rows` or `row-out-of-range`: it is not this table's vocabulary, or a broken one;
            `bad-vocabulary`: it has no counts.
    """
    check = check_rows(vocabulary.rows_N, num_embeddings)
    refuse_errors(row_errors(vocabulary, check, num_embeddings, remedy="give the vocabulary of this table"))
    if vocabulary.counts_N is None:
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            "has no counts, by which rows could be ranked",
            where=vocabulary.uri,
            expected="a column of counts",
            found="ids and rows alone",
            hint="name the column with --vocab-column count=NAME, or build the vocabulary with `embsnap vocab build`",
        )
    order = np.lexsort((vocabulary.rows_N, -vocabulary.counts_N))
    bounds = tuple(split(len(order), NUM_DECILES))
    return Ranked(vocabulary, vocabulary.rows_N[order], vocabulary.counts_N[order], bounds)


def rank_correlation(left_N: NDArray[np.float64] | NDArray[np.int64], right_N: NDArray[np.int64]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where either side is the same for all.

    Source: Spearman (1904); as `scipy.stats.spearmanr`.
    """
    if any(not len(values) or (values == values[0]).all() for values in (left_N, right_N)):
        return None
    left, right = (_ranks(values) - (len(values) + 1) / 2 for values in (left_N, right_N))
    return float((left @ right) / np.sqrt((left @ left) * (right @ right)))


def _ranks(values_N: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    """From 1 on, equal values at the mean of their places."""
    order = np.argsort(values_N, kind="stable")
    ordered = values_N[order]
    is_first = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]
    starts = np.flatnonzero(is_first)
    ends = np.append(starts[1:], len(ordered))
    ranks = np.empty(len(ordered))
    ranks[order] = np.repeat((starts + 1 + ends) / 2, ends - starts)
    return ranks

"""From a batch's entity ids to the rows of a table.

Shape suffixes: B bags of a batch, N ids in hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.ops.pool.examples import Bags
from embsnap.ops.vocab_index import VocabIndex

__all__ = ["RowBags", "Unknown", "rows_of"]

Unknown = Literal["skip", "row"]
"""What becomes of ids that the vocabulary does not have: they are left out, or get a row for unknown ids."""


@dataclass(frozen=True, slots=True, eq=False)
class RowBags:
    """One feature of a batch, as rows."""

    rows_N: NDArray[np.int64]
    lengths_B: NDArray[np.int64]
    weights_N: NDArray[np.float32] | None
    num_unknown_B: NDArray[np.int64]
    """Ids of each bag that are not in the vocabulary, whatever became of them."""


def rows_of(bags: Bags, index: VocabIndex, unknown: Unknown, *, threads: int = 1) -> RowBags:
    """Look up the ids of each bag.

    Raises:
        IncompatibleError: `id-type-mismatch` or `null-ids`.
        UsageError: `bad-option`: `unknown` is `row` and the vocabulary declares no rows for unknown ids.
    """
    rows_N = _lookup(bags, index, "skip", threads)
    known_N = rows_N >= 0
    num_known_B = _sums(known_N, bags.lengths_B)
    num_unknown_B = bags.lengths_B - num_known_B
    if known_N.all():
        return RowBags(rows_N, bags.lengths_B, bags.weights_N, num_unknown_B)
    if unknown == "row":
        _check_oov(index)
        rows_N = _lookup(bags, index, "row", threads)
        return RowBags(rows_N, bags.lengths_B, bags.weights_N, num_unknown_B)
    weights_N = None if bags.weights_N is None else bags.weights_N[known_N]
    return RowBags(rows_N[known_N], num_known_B, weights_N, num_unknown_B)


def _lookup(bags: Bags, index: VocabIndex, unknown: Unknown, threads: int) -> NDArray[np.int64]:
    if not len(bags.ids):  # of whatever type: a column of nothing but nulls has none
        return np.empty(0, np.int64)
    try:
        return index.lookup(bags.ids, unknown, threads=threads)
    except IncompatibleError as error:
        error.where = f"{bags.where}, with the vocabulary {index.vocabulary}"
        raise


def _check_oov(index: VocabIndex) -> None:
    if index.oov is None:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "the vocabulary declares no rows for unknown ids",
            where=index.vocabulary,
            expected="one or more, for --oov row",
            found="none",
            hint="embsnap vocab build --num-oov N makes a vocabulary with some; --oov skip leaves unknown ids out",
        )


def _sums(flags_N: NDArray[np.bool_], lengths_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of each bag's flags are set."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(flags_N)])
    ends_B = np.cumsum(lengths_B)
    sums_B: NDArray[np.int64] = before[ends_B] - before[ends_B - lengths_B]
    return sums_B

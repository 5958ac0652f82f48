"""Who may be in the extended vocabulary, and the rows of those who get one.

Shape suffixes: N entities of the roster, M new ids, C candidates, K who stay or come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.counted_ids import CountedIds
from embsnap.formats.id_arrays import concat_ids, order_of_ids, take_ids
from embsnap.model.vocabulary import NEVER_SEEN, Declared, Ids
from embsnap.ops.vocab_extension import ExtendOptions
from embsnap.ops.vocab_roster import Roster
from embsnap.ops.vocab_rows import FreeRows

__all__ = ["Candidates", "candidates_of", "give_rows"]

_AFTER_ALL = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Who may be in the new vocabulary."""

    ids: Ids
    rows_C: NDArray[np.int64]
    """-1 for those without a row."""
    counts_C: NDArray[np.int64]
    seen_C: NDArray[np.int64]
    donor_C: NDArray[np.int64]
    """Index in the old vocabulary, or -1."""
    ties_C: NDArray[np.int64]
    """Whoever has a row first, by row; then the others by id."""


def candidates_of(
    roster: Roster, new: CountedIds, found_M: NDArray[np.int64], stay: NDArray[np.int64], options: ExtendOptions
) -> Candidates:
    """The entities of the roster that stay if there is room, and the new ids that it lacks.

    Args:
        roster: The old entities.
        new: Distinct ids.
        found_M: For each of them its index in the roster, or -1.
        stay: Indices in the roster.
        options: For `decay`.

    Raises:
        IncompatibleError: `bad-vocabulary`: a count does not fit in an int64.
    """
    counts_N, seen_N = roster.counts_N, roster.last_seen_N.copy()
    known = np.flatnonzero(found_M >= 0)
    if new.has_counts:
        counts_N = _decayed(counts_N, float(options.decay or 0))
        counts_N[found_M[known]] += new.counts_N[known]
    if counts_N.min(initial=0) < 0:
        raise _too_many(int(np.count_nonzero(counts_N < 0)))
    times_M = np.full(len(new), NEVER_SEEN) if new.last_seen_N is None else new.last_seen_N
    seen_N[found_M[known]] = np.maximum(seen_N[found_M[known]], times_M[known])
    fresh = np.flatnonzero(found_M < 0)
    ids = concat_ids([take_ids(roster.ids, stay), take_ids(new.ids, fresh)])
    rows_C = np.concatenate([roster.rows_N[stay], np.full(len(fresh), -1)])
    donor_N = roster.donor_N if len(roster.donor_N) else np.full(len(roster.rows_N), -1)
    donor_C = np.concatenate([donor_N[stay], np.full(len(fresh), -1)])
    without = np.flatnonzero(rows_C < 0)
    ties_C = rows_C.copy()
    ties_C[without[order_of_ids(take_ids(ids, without))]] = _AFTER_ALL + np.arange(len(without))
    counts_C = np.concatenate([counts_N[stay], new.counts_N[fresh] * new.has_counts])
    return Candidates(ids, rows_C, counts_C, np.concatenate([seen_N[stay], times_M[fresh]]), donor_C, ties_C)


def _decayed(counts_N: NDArray[np.int64], decay: float) -> NDArray[np.int64]:
    """What is left of old counts; all of them, exactly, by a decay of 1."""
    return counts_N.copy() if decay == 1 else np.floor(counts_N * decay).astype(np.int64)


def _too_many(num: int) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.BAD_VOCABULARY,
        "old and new counts are too large together",
        expected="sums that fit in an int64",
        found=f"{num:,} {'entity has' if num == 1 else 'entities have'} more",
        hint="give --decay a smaller number, or scale the counts",
    )


def give_rows(
    candidates: Candidates, kept: NDArray[np.int64], layout: Declared
) -> tuple[NDArray[np.int64], FreeRows, int]:
    """The row of each of `kept`, the rows that are free then, and how many were free before."""
    num_rows = layout.num_rows or 0
    rows_K = candidates.rows_C[kept]
    free = FreeRows.of(rows_K[rows_K >= 0], layout.special, num_rows)
    without = np.flatnonzero(rows_K < 0)
    newcomers = kept[without]
    without = without[np.lexsort((candidates.ties_C[newcomers], ~candidates.counts_C[newcomers]))]
    reused = free.first(len(without))
    rows_K[without[: len(reused)]] = reused
    rows_K[without[len(reused) :]] = num_rows + np.arange(len(without) - len(reused))
    return rows_K, FreeRows.of(rows_K, layout.special, num_rows), len(reused)

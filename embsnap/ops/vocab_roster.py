"""Who may be in the extended vocabulary: the entities of the old one, under the ids that aliases give them.

Shape suffixes: N entities, P claims of an old entity to an id, C distinct ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.id_arrays import concat_ids, factorize_ids, take_ids
from embsnap.formats.id_search import find_ids
from embsnap.formats.vocabulary_aliases import Aliases
from embsnap.model.vocabulary import NEVER_SEEN, Ids, Vocabulary

__all__ = ["Roster", "roster_of"]

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Roster:
    """N entities under the ids they are to have, those that have no row yet among them."""

    ids: Ids
    rows_N: NDArray[np.int64]
    """-1 where there is none yet."""
    counts_N: NDArray[np.int64]
    last_seen_N: NDArray[np.int64]
    """`NEVER_SEEN` where that is not known."""
    donor_N: NDArray[np.int64]
    """Index in the old vocabulary of the entity it starts from, under another id; else -1. Empty without aliases."""
    merged: NDArray[np.int64]
    """Indices in the old vocabulary of entities that are part of another one now; their rows are free."""
    num_renamed: int = 0
    """Entities that keep a row under a new id."""
    num_split: int = 0
    """Entities that are there because an old one became several."""
    num_unused: int = 0
    """Aliases of ids that the old vocabulary lacks."""


@dataclass(frozen=True, slots=True, eq=False)
class _Claims:
    """P pairs of an old entity and an id it becomes."""

    old_P: NDArray[np.int64]
    code_P: NDArray[np.int64]
    """Of the id, in ascending order of ids."""
    weight_P: NDArray[np.float64]
    is_own_P: NDArray[np.bool_]
    """Whether it is the entity's own id."""


def roster_of(old: Vocabulary, aliases: Aliases | None = None) -> Roster:
    """The old entities, each under its new id.

    An old id that becomes several keeps its row under its own id if that is among them, else under the first of them;
    of several old ids that become one, the one that has the id already keeps its row, else the one with the highest
    count, else the one with the lowest row. Counts of entities that become one are summed.

    Args:
        old: Without duplicate ids.
        aliases: Pairs of ids; ids that are in none of them stay.

    Raises:
        IncompatibleError: `duplicate-ids`: a pair is there twice.
    """
    counts_N = np.zeros(len(old), np.int64) if old.counts_N is None else old.counts_N
    seen_N = np.full(len(old), NEVER_SEEN) if old.last_seen_N is None else old.last_seen_N
    if aliases is None:
        return Roster(old.ids, old.rows_N, counts_N, seen_N, _NONE, _NONE)
    ids, claims, num_unused = _claims(old, aliases)
    first = _firsts(claims.old_P, np.lexsort((claims.code_P, ~claims.is_own_P, claims.old_P)))
    old_F, code_F = claims.old_P[first], claims.code_P[first]
    order = np.lexsort((old.rows_N[old_F], -counts_N[old_F], ~claims.is_own_P[first], code_F))
    winners = _firsts(code_F, order)
    num_ids = len(ids)
    rows_C, donor_C = np.full(num_ids, -1), np.full(num_ids, -1)
    rows_C[code_F[winners]] = old.rows_N[old_F[winners]]
    renamed = winners[~claims.is_own_P[first][winners]]
    donor_C[code_F[renamed]] = old_F[renamed]
    num_split = _add_donors(rows_C, donor_C, claims, counts_N, old.rows_N)
    counts_C, seen_C = np.zeros(num_ids, np.int64), np.full(num_ids, NEVER_SEEN)
    np.add.at(counts_C, code_F, counts_N[old_F])
    np.maximum.at(seen_C, code_F, seen_N[old_F])
    is_merged_N = np.ones(len(old), np.bool_)
    is_merged_N[old_F[winners]] = False
    merged = np.flatnonzero(is_merged_N)
    return Roster(ids, rows_C, counts_C, seen_C, donor_C, merged, len(renamed), num_split, num_unused)


def _claims(old: Vocabulary, aliases: Aliases) -> tuple[Ids, _Claims, int]:
    """The distinct ids to come, who becomes which of them, and how many aliases are of unknown ids."""
    place_P = find_ids(aliases.old_ids, old.ids)
    used = np.flatnonzero(place_P >= 0)
    is_aliased_N = np.zeros(len(old), np.bool_)
    is_aliased_N[place_P[used]] = True
    same = np.flatnonzero(~is_aliased_N)
    ids, code_P = factorize_ids(concat_ids([take_ids(old.ids, same), take_ids(aliases.new_ids, used)]))
    old_P = np.concatenate([same, place_P[used]])
    own_P = find_ids(take_ids(old.ids, old_P), ids)
    weight_P = np.concatenate([np.ones(len(same)), aliases.weights_P[used]])
    pairs = np.lexsort((code_P, old_P))
    repeated = (np.diff(old_P[pairs]) == 0) & (np.diff(code_P[pairs]) == 0)
    if repeated.any():
        raise IncompatibleError(
            ErrorKind.DUPLICATE_IDS,
            "the same alias is given more than once",
            where=aliases.uri,
            expected="each pair of an old id and a new one once",
            found=f"{int(repeated.sum()):,} repeated",
        )
    return ids, _Claims(old_P, code_P, weight_P, own_P == code_P), len(aliases) - len(used)


def _add_donors(
    rows_C: NDArray[np.int64],
    donor_C: NDArray[np.int64],
    claims: _Claims,
    counts_N: NDArray[np.int64],
    rows_N: NDArray[np.int64],
) -> int:
    """Give ids without a row the heaviest of those that claim them as donor; how many there are."""
    old_P, code_P = claims.old_P, claims.code_P
    order = np.lexsort((rows_N[old_P], -counts_N[old_P], -claims.weight_P, code_P))
    best = _firsts(code_P, order)
    split = best[rows_C[code_P[best]] < 0]
    donor_C[code_P[split]] = old_P[split]
    return len(split)


def _firsts(group: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first index of each group, where `order` sorts by group, and within it as wanted."""
    grouped = group[order]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = grouped[1:] != grouped[:-1]
    return order[starts]

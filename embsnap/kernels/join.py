"""The id join: which old row each row of a new table comes from.

Both sides are cut by their keys into partitions that fit a core's cache (`embsnap.kernels.radix`), each partition is
matched in a hash table of its own (`embsnap.kernels.probe`), and the threads share nothing. Integer ids can be joined
in several passes, each for a slice of the partitions, so that not all of their keys are in memory at once. The result
depends on neither the threads nor the passes.

Shape suffixes: N ids of one side, V rows of the new table, M new entities, P partitions, K examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from mmap import mmap
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel
from embsnap.kernels.hashing import id_words
from embsnap.kernels.new_entities import take_new
from embsnap.kernels.probe import Side, log_slots, probe_range
from embsnap.kernels.radix import Partitioned, partition, partition_bits
from embsnap.kernels.rows import MAX_EXAMPLES
from embsnap.kernels.settle import settle
from embsnap.kernels.threads import run, split
from embsnap.model.vocabulary import BytesIds, Ids

__all__ = ["Duplicates", "Join", "Joined", "duplicates_of", "join"]

_SMALL = 1 << 16
_RANGES_PER_THREAD = 4
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Ids that one side holds more than once."""

    count: int
    """Occurrences after the first of their id."""
    examples: tuple[int, ...]
    """Indices of the first `MAX_EXAMPLES` of them, ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """What `join` returns. An id's later occurrences on its side count as duplicates and as nothing else."""

    row_V: NDArray[np.int64]
    """Old row of each new row; -1 where the entity is new or the row has none."""
    new_rows_N: NDArray[np.int64]
    """Rows of the entities that only the new side has, ascending."""
    new_keys_N: NDArray[np.uint64]
    """`id_keys` of these entities."""
    num_carried: int
    """Ids on both sides."""
    num_dropped: int
    """Ids on the old side only."""
    carried_weight: int | None
    """Sum of the counts of carried entities; None without counts."""
    total_weight: int | None
    """Sum of all counts; None without counts."""
    old_duplicates: Duplicates
    new_duplicates: Duplicates


class Join(Protocol):
    """What joins: `join`, or something else with its result."""

    def __call__(
        self,
        old_ids: Ids,
        old_rows_N: NDArray[np.int64],
        new_ids: Ids,
        new_rows_N: NDArray[np.int64],
        num_rows: int,
        *,
        counts_N: NDArray[np.int64] | None = None,
        passes: int = 1,
        threads: int = 1,
    ) -> Joined:
        """As `join`."""


def join(
    old_ids: Ids,
    old_rows_N: NDArray[np.int64],
    new_ids: Ids,
    new_rows_N: NDArray[np.int64],
    num_rows: int,
    *,
    counts_N: NDArray[np.int64] | None = None,
    passes: int = 1,
    threads: int = 1,
) -> Joined:
    """Find the old row of every new row by entity id.

    Beside its result it takes about 18 bytes for each id of either side, divided by the number of passes; for byte ids
    26, and another 8 for each new one, in one pass.

    Args:
        old_ids: Ids of the old side.
        old_rows_N: Row of each, `int64[N]`, not negative.
        new_ids: Ids of the new side, of the same type.
        new_rows_N: Row of each, `int64[N]` in `[0, num_rows)`, each row once (`embsnap.kernels.rows.check_rows`).
        num_rows: V.
        counts_N: How often each new entity was seen, `int64[N]`.
        passes: Over integer ids, each for a part of the keys; byte ids take one.
        threads: How many threads may work on it.

    Raises:
        ValueError: Arrays differ in length, or a row is out of range.
    """
    for side, ids, rows_N in (("old", old_ids, old_rows_N), ("new", new_ids, new_rows_N)):
        if len(ids) != len(rows_N):
            raise ValueError(f"{len(ids)} ids for {len(rows_N)} rows on the {side} side")
    num_ids = len(old_rows_N) + len(new_rows_N)
    threads = 1 if num_ids < _SMALL else threads
    bits = partition_bits(num_ids)
    row_V = np.empty(num_rows, np.int64)
    _fill(row_V, threads)
    # A map of its own, for which numpy does not ask for huge pages: only what is written to takes memory.
    keys_N = np.frombuffer(mmap(-1, 8 * max(1, len(new_rows_N))), np.uint64)
    sides = (old_ids, old_rows_N, new_ids, new_rows_N)
    done: list[_Pass] = []
    for slice_P in split(1 << bits, 1 if isinstance(new_ids, BytesIds) else passes):
        place = sum(part.num_new_ids for part in done)
        done.append(_join_slice(*sides, bits, slice_P, place, row_V, keys_N, threads))
    rows_M, keys_M = take_new(row_V, keys_N, threads=threads)
    carried_weight, total_weight = _weights(row_V, new_rows_N, counts_N, threads)
    num_carried = sum(part.num_carried for part in done)
    old_duplicates = _together([part.old_duplicates for part in done])
    return Joined(
        row_V=row_V,
        new_rows_N=rows_M,
        new_keys_N=keys_M,
        num_carried=num_carried,
        num_dropped=len(old_rows_N) - old_duplicates.count - num_carried,
        carried_weight=carried_weight,
        total_weight=total_weight,
        old_duplicates=old_duplicates,
        new_duplicates=_together([part.new_duplicates for part in done]),
    )


def duplicates_of(ids: Ids, *, threads: int = 1) -> Duplicates:
    """Ids that occur more than once."""
    none = BytesIds(np.zeros(1, np.int64), np.empty(0, np.uint8)) if isinstance(ids, BytesIds) else ids[:0]
    # The old side is only kept, while of the new one rows and keys are written down.
    return join(ids, np.zeros(len(ids), np.int64), none, _NONE, 0, threads=threads).old_duplicates


@dataclass(frozen=True, slots=True)
class _Pass:
    """What the ids of one slice of the partitions gave."""

    num_new_ids: int
    """On the new side, whether the old side has them or not."""
    num_carried: int
    old_duplicates: Duplicates
    new_duplicates: Duplicates


def _join_slice(
    old_ids: Ids,
    old_rows_N: NDArray[np.int64],
    new_ids: Ids,
    new_rows_N: NDArray[np.int64],
    bits: int,
    slice_P: tuple[int, int],
    place: int,
    row_V: NDArray[np.int64],
    keys_N: NDArray[np.uint64],
    threads: int,
) -> _Pass:
    """Fill `row_V` at the rows of the new ids in one slice of the partitions, and `keys_N` from `place` on."""
    old = _partitioned("old", old_ids, old_rows_N, None, bits, slice_P, threads)
    new = _partitioned("new", new_ids, new_rows_N, len(row_V), bits, slice_P, threads)
    repeats = np.full((2, slice_P[1] - slice_P[0], MAX_EXAMPLES), -1, np.int64)
    tallies = None
    if isinstance(old_ids, BytesIds) and isinstance(new_ids, BytesIds):
        sides = ((old, old_ids, old_rows_N), (new, new_ids, new_rows_N))
        tallies = _match_keys(*sides, bits, row_V, keys_N, threads)
    if tallies is None:
        probed = (_side(old, old_ids, old_rows_N), _side(new, new_ids, new_rows_N))
        tallies = _probe(*probed, bits, place, row_V, keys_N, repeats, threads)
    num_carried, *num_repeats = (int(count) for count in tallies)
    duplicates = (
        Duplicates(count, side.indices_of(places[places >= 0], MAX_EXAMPLES))
        for side, count, places in zip((old, new), num_repeats, repeats, strict=True)
    )
    return _Pass(new.num_ids, num_carried, *duplicates)


def _together(found: Sequence[Duplicates]) -> Duplicates:
    examples = sorted(index for duplicates in found for index in duplicates.examples)
    return Duplicates(sum(duplicates.count for duplicates in found), tuple(examples[:MAX_EXAMPLES]))


def _partitioned(
    side: str,
    ids: Ids,
    rows_N: NDArray[np.int64],
    num_rows: int | None,
    bits: int,
    slice_P: tuple[int, int],
    threads: int,
) -> Partitioned:
    words_N, by_index = id_words(ids, threads=threads), isinstance(ids, BytesIds)
    rows_N = frozen(rows_N, np.int64)
    partitioned = partition(words_N, rows_N, by_index=by_index, bits=bits, threads=threads, slice_P=slice_P)
    if partitioned.min_row < 0 or (num_rows is not None and partitioned.max_row >= num_rows):
        allowed = f"[0, {'' if num_rows is None else num_rows})"
        found = f"[{partitioned.min_row}, {partitioned.max_row}]"
        raise ValueError(f"rows of the {side} side must be in {allowed}, found {found}")
    return partitioned


def _match_keys(
    old: tuple[Partitioned, BytesIds, NDArray[np.int64]],
    new: tuple[Partitioned, BytesIds, NDArray[np.int64]],
    bits: int,
    row_V: NDArray[np.int64],
    keys_N: NDArray[np.uint64],
    threads: int,
) -> NDArray[np.int64] | None:
    """Match byte ids by their keys, and then compare the bytes of all pairs, which is much faster than at once.

    Returns:
        What `_probe` returns; None, with `row_V` as it was, all -1, if a key occurs twice on a side or stands for two
        ids, so that all is still to do.
    """
    (old_parts, old_ids, old_rows_N), (new_parts, new_ids, new_rows_N) = old, new
    matches_N = np.empty(len(new_ids), np.int64)
    repeats = np.full((2, 1 << bits, MAX_EXAMPLES), -1, np.int64)
    keys_alone = (_side(old_parts, _NONE, _NONE), _side(new_parts, _NONE, _NONE))
    tallies = _probe(*keys_alone, bits, 0, matches_N, keys_N, repeats, threads)
    if tallies[1:].any():
        return None
    if settle(old_ids, old_rows_N, new_ids, new_rows_N, matches_N, row_V, threads=threads):
        return tallies
    _fill(row_V, threads)
    return None


def _fill(row_V: NDArray[np.int64], threads: int) -> None:
    run([partial(row_V[start:end].fill, -1) for start, end in split(len(row_V), threads)], threads)


def _side(partitioned: Partitioned, ids: Ids, rows_N: NDArray[np.int64]) -> Side:
    offsets, data, rows = (ids.offsets, ids.data, rows_N) if isinstance(ids, BytesIds) else (_NONE, _NONE, _NONE)
    arrays = (frozen(offsets, np.int64), frozen(data, np.uint8), frozen(rows, np.int64))
    return Side(partitioned.entries_M2, partitioned.starts_TP, partitioned.ends_TP, *arrays)


def _probe(
    old: Side,
    new: Side,
    bits: int,
    place: int,
    row_V: NDArray[np.int64],
    keys_N: NDArray[np.uint64],
    repeats: NDArray[np.int64],
    threads: int,
) -> NDArray[np.int64]:
    """Match all partitions; the number of ids carried, of repeats on the old and of repeats on the new side."""
    ranges = split(old.ends_TP.shape[1], threads * _RANGES_PER_THREAD)
    num_old_P, num_new_P = ((side.ends_TP - side.starts_TP).sum(axis=0) for side in (old, new))
    tallies, tasks = np.zeros((len(ranges), 3), np.int64), []
    for (first, last), tally in zip(ranges, tallies, strict=True):
        slots = np.empty(1 << log_slots(int((num_old_P + num_new_P)[first:last].max())), np.uint64)
        tasks.append(partial(probe_range, old, new, bits, first, last, place, slots, tally, row_V, keys_N, repeats))
        place += int(num_new_P[first:last].sum())
    run(tasks, threads)
    return np.asarray(tallies.sum(axis=0))


def _weights(
    row_V: NDArray[np.int64], new_rows_N: NDArray[np.int64], counts_N: NDArray[np.int64] | None, threads: int
) -> tuple[int | None, int | None]:
    """The counts of carried ids and of all ids, summed."""
    if counts_N is None:
        return None, None
    if len(counts_N) != len(new_rows_N):
        raise ValueError(f"{len(counts_N)} counts for {len(new_rows_N)} ids")
    inputs = (row_V, frozen(new_rows_N, np.int64), frozen(counts_N, np.int64))
    ranges = split(len(counts_N), threads)
    return sum(run([partial(_sum_carried, *inputs, *bounds) for bounds in ranges], threads)), int(counts_N.sum())


@kernel
def _sum_carried(row_V: Any, rows_N: Any, counts_N: Any, start: int, end: int) -> int:
    total = 0
    for i in range(start, end):
        if row_V[rows_N[i]] >= 0:
            total += counts_N[i]
    return total

"""Ids with how often each was seen, gathered from a stream that comes most frequent first.

Shape suffixes: N ids that are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.event_files import EventFiles
from embsnap.formats.parquet import bytes_of, integers_of
from embsnap.kernels.threads import run
from embsnap.model.vocabulary import NEVER_SEEN, BytesIds, Ids, IdType

__all__ = ["CountedIds", "Cut", "Dropped", "collect", "sort_ids"]

_LARGE_RUN = 1 << 16


@dataclass(frozen=True, slots=True)
class Cut:
    """Which ids are kept."""

    min_count: int = 1
    """Those seen at least so often; where counts are given in a column, 0 keeps those of count 0 too."""
    max_size: int | None = None
    """At most so many of them, the first."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Distinct ids that were not kept for one reason."""

    ids: int = 0
    events: int = 0
    """How often they were seen, together."""


@dataclass(frozen=True, slots=True, eq=False)
class CountedIds:
    """Distinct ids, the most frequent first, those of one count by id, ascending."""

    id_type: IdType
    ids: Ids
    counts_N: NDArray[np.int64]
    last_seen_N: NDArray[np.int64] | None
    """The largest time of each, in `last_seen_type`; `NEVER_SEEN` where all are null; None without a time column."""
    last_seen_type: str
    num_events: int
    """Sum of the counts of all ids, kept or not."""
    num_distinct: int
    """Kept or not."""
    num_nulls: int
    """Null ids; they are no events."""
    num_records: int
    num_files: int
    rare: Dropped
    """Seen less often than `Cut.min_count`."""
    beyond: Dropped
    """Frequent enough, and beyond `Cut.max_size`."""
    has_counts: bool = True
    """Whether `counts_N` says how often; else it only lists the ids."""

    @classmethod
    def of(
        cls,
        id_type: IdType,
        ids: Ids,
        counts_N: NDArray[np.int64] | None = None,
        last_seen_N: NDArray[np.int64] | None = None,
        last_seen_type: str = "int64",
    ) -> CountedIds:
        """Distinct ids in memory, in any order, with their counts and times where these are known."""
        num, none = len(ids), Dropped()
        known_N = np.zeros(num, np.int64) if counts_N is None else counts_N
        return cls(
            id_type,
            ids,
            known_N,
            last_seen_N,
            last_seen_type,
            num_events=int(known_N.sum()),
            num_distinct=num,
            num_nulls=0,
            num_records=num,
            num_files=0,
            rare=none,
            beyond=none,
            has_counts=counts_N is not None,
        )

    def __len__(self) -> int:
        return len(self.counts_N)


def collect(batches: Iterable[Any], files: EventFiles, cut: Cut) -> CountedIds:
    """Take over Arrow record batches of `id`, `n` and perhaps `seen`, sorted by `n`, descending.

    A null id, of which there is one at most, is set apart.

    Raises:
        IncompatibleError: `bad-vocabulary`: a count is below 0 or null.
    """
    ids, counts, seen = list[Any](), list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    num_kept, num_nulls, rare, beyond = 0, 0, Dropped(), Dropped()
    for batch in batches:
        if batch.column(0).null_count:
            num_nulls = batch.filter(batch.column(0).is_null()).column(1)[0].as_py()
            batch = batch.filter(batch.column(0).is_valid())
        counts_B = _counts(batch.column(1), files)
        num_frequent = int(np.searchsorted(-counts_B, -cut.min_count, side="right"))
        num_taken = num_frequent if cut.max_size is None else min(num_frequent, cut.max_size - num_kept)
        rare = _more(rare, counts_B[num_frequent:])
        beyond = _more(beyond, counts_B[num_taken:num_frequent])
        if num_taken:
            ids.append(batch.column(0).slice(0, num_taken))
            counts.append(counts_B[:num_taken])
            seen += [_times(batch.column(2))[:num_taken]] if batch.num_columns > 2 else []
            num_kept += num_taken
    counts_N = _joined(counts)
    return CountedIds(
        files.id_type,
        _ids(ids, files.id_type),
        counts_N,
        _joined(seen) if files.has_times else None,
        files.time_type,
        num_events=int(counts_N.sum()) + rare.events + beyond.events,
        num_distinct=num_kept + rare.ids + beyond.ids,
        num_nulls=num_nulls,
        num_records=files.num_records,
        num_files=len(files.paths),
        rare=rare,
        beyond=beyond,
    )


def sort_ids(counted: CountedIds, *, threads: int) -> None:
    """Put the integer ids of each count into ascending order, in place."""
    assert not isinstance(counted.ids, BytesIds)
    bounds = np.flatnonzero(np.diff(counted.counts_N, prepend=-1, append=-1))
    runs = [counted.ids[start:end] for start, end in pairwise(bounds.tolist()) if end - start > 1]
    small = [ids for ids in runs if len(ids) <= _LARGE_RUN]
    large = [[ids] for ids in runs if len(ids) > _LARGE_RUN]
    run([partial(_sort_each, several) for several in (*large, small)], threads)


def _sort_each(runs: Sequence[NDArray[Any]]) -> None:
    for ids in runs:
        ids.sort()


def _more(dropped: Dropped, counts_B: NDArray[np.int64]) -> Dropped:
    return Dropped(dropped.ids + len(counts_B), dropped.events + int(counts_B.sum()))


def _counts(array: Any, files: EventFiles) -> NDArray[np.int64]:
    counts_B = integers_of(array)
    if array.null_count or counts_B.min(initial=0) < 0:
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            "the column of counts has values below 0, or nulls alone, for an id",
            where=files.paths[0],
            expected="counts of 0 or more",
        )
    return counts_B


def _times(array: Any) -> NDArray[np.int64]:
    return integers_of(array.fill_null(NEVER_SEEN) if array.null_count else array)


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _ids(parts: list[Any], id_type: IdType) -> Ids:
    if id_type in (IdType.INT64, IdType.UINT64):
        dtype = np.int64 if id_type is IdType.INT64 else np.uint64
        numbers_N: NDArray[Any] = np.concatenate([np.empty(0, dtype), *(integers_of(part) for part in parts)])
        return numbers_N
    if not parts:
        return BytesIds(np.zeros(1, np.int64), np.empty(0, np.uint8))
    pieces = [bytes_of(part) for part in parts]
    lengths = np.concatenate([np.diff(offsets).astype(np.int64) for offsets, _ in pieces])
    offsets_N = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets_N[1:])
    return BytesIds(offsets_N, np.concatenate([data[offsets[0] : offsets[-1]] for offsets, data in pieces]))

"""A hash table from ids to rows that is built once and then only read, by any number of threads and processes.

A bucket is a cache line: four words and four payloads. An integer id's word is the id and its payload the row. Byte ids
have their XXH64 as the word and as the payload the place of a record: the row, the length and the bytes themselves, so
that a hash is never trusted alone. A bucket fills from its front; an id whose bucket is full is in the next one that is
not. Lookups ask for the lines of the next ids while they look at the present one.

Shape suffixes: N ids in hand, W words of the table (8 for each bucket), R bytes of records, K examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel
from embsnap.kernels.hashing import id_words
from embsnap.kernels.index_probe import BUCKET_WORDS, RECORD_HEAD_BYTES, find_bytes, find_words, insert_ids, spread
from embsnap.kernels.join import Duplicates
from embsnap.kernels.memory import copy_bytes
from embsnap.kernels.rows import MAX_EXAMPLES
from embsnap.kernels.threads import run, split
from embsnap.model.vocabulary import BytesIds, Ids

__all__ = ["BUCKET_WORDS", "IdTable", "find_rows", "make_table", "spread_unknown"]

_IDS_PER_BUCKET = 2.5
_LINE_BYTES = 64
_MAX_BUCKETS = (1 << 32) - 1


@dataclass(frozen=True, slots=True, eq=False)
class IdTable:
    """Ids and their rows, as one process writes them and others map them."""

    words_W: NDArray[np.uint64]
    """The buckets, one after the other."""
    records_R: NDArray[np.uint8]
    """For byte ids, in the order of the vocabulary: row (8 bytes), length (4 bytes), bytes. Otherwise empty."""

    @property
    def num_buckets(self) -> int:
        """At least 1."""
        return len(self.words_W) // BUCKET_WORDS


def make_table(ids: Ids, rows_N: NDArray[np.int64], *, threads: int = 1) -> tuple[IdTable, Duplicates]:
    """Build a table.

    Args:
        ids: N ids.
        rows_N: Row of each, `int64[N]`, not negative.
        threads: How many may hash byte ids.

    Returns:
        The table, and the ids that an earlier id is equal to; the table has the earlier one's row.

    Raises:
        ValueError: The arrays differ in length, a row is negative, or the offsets of byte ids leave their data.
        OverflowError: There are more ids than a table can hold, some 10 billion.
    """
    if len(ids) != len(rows_N):
        raise ValueError(f"{len(ids)} ids for {len(rows_N)} rows")
    if len(rows_N) and rows_N.min() < 0:
        raise ValueError(f"rows must not be negative, found {rows_N.min()}")
    num_buckets = int(len(ids) / _IDS_PER_BUCKET) + 1
    if num_buckets > _MAX_BUCKETS:
        raise OverflowError(f"a table has at most {_MAX_BUCKETS} buckets, {len(ids)} ids take {num_buckets}")
    words_N, payloads_N = id_words(ids, threads=threads), frozen(rows_N, np.int64)
    records_R = np.empty(0, np.uint8)
    if isinstance(ids, BytesIds):
        records_R, payloads_N = _records(ids, payloads_N)
    words_W = _aligned_words(BUCKET_WORDS * num_buckets)
    words_W.fill(np.iinfo(np.uint64).max)
    examples = np.full(MAX_EXAMPLES, -1, np.int64)
    num_repeats = insert_ids(words_N, payloads_N, frozen(records_R, np.uint8), words_W, examples)
    return IdTable(words_W, records_R), Duplicates(num_repeats, tuple(examples[examples >= 0].tolist()))


def _records(ids: BytesIds, rows_N: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The records of byte ids, and where each begins."""
    offsets = frozen(ids.offsets, np.int64)
    places_N = (offsets[:-1] - offsets[0]) + np.arange(len(ids), dtype=np.int64) * RECORD_HEAD_BYTES
    num_bytes = int(offsets[-1] - offsets[0]) + len(ids) * RECORD_HEAD_BYTES
    records_R = np.empty(num_bytes, np.uint8)
    heads_N = np.empty(len(ids), np.dtype([("row", "<i8"), ("length", "<u4")]))
    heads_N["row"], heads_N["length"] = rows_N, np.diff(offsets)
    _write_records(offsets, frozen(ids.data, np.uint8), frozen(heads_N.view(np.uint8), np.uint8), records_R)
    return records_R, frozen(places_N, np.int64)


def _aligned_words(num_words: int) -> NDArray[np.uint64]:
    """Uninitialised `uint64[num_words]` that begins with a cache line."""
    words = np.empty(num_words + BUCKET_WORDS, np.uint64)
    skipped = -words.ctypes.data % _LINE_BYTES // 8
    return words[skipped : skipped + num_words]


def find_rows(table: IdTable, ids: Ids, rows_N: NDArray[np.int64], *, threads: int = 1) -> int:
    """Look ids up. The GIL is released.

    Args:
        table: Of ids of the same type.
        ids: N ids; offsets of byte ids may be `int32` or `int64`.
        rows_N: `int64[N]`, contiguous, filled: the row of each id, -1 where the table has none.
        threads: How many threads may work on it. They are started for this call, so it takes a large batch to gain.

    Returns:
        How many ids the table does not have.

    Raises:
        ValueError: The arrays differ in length, or the offsets of byte ids leave their data.
    """
    if len(ids) != len(rows_N):
        raise ValueError(f"{len(ids)} ids for {len(rows_N)} rows")
    words_W = frozen(table.words_W, np.uint64)
    if not isinstance(ids, BytesIds):
        words_N = id_words(ids)
        tasks = [partial(find_words, words_N, *bounds, words_W, rows_N) for bounds in split(len(ids), threads)]
        return sum(run(tasks, threads))
    inputs = (frozen(ids.offsets, ids.offsets.dtype), frozen(ids.data, np.uint8))
    outputs = (words_W, frozen(table.records_R, np.uint8), rows_N)
    tasks = [partial(find_bytes, *inputs, *bounds, *outputs) for bounds in split(len(ids), threads)]
    counts = run(tasks, threads)
    if min(counts, default=0) < 0:
        raise ValueError(f"id {-1 - min(counts)} has bytes outside of its data")
    return sum(counts)


def spread_unknown(ids: Ids, rows_N: NDArray[np.int64], start: int, end: int) -> None:
    """Give every id without a row one of the rows `[start, end)`: always the same one, whatever the batch.

    Args:
        ids: N ids.
        rows_N: `int64[N]`, as `find_rows` filled it; -1 becomes
            `start + ((mix64(word ^ 0x8EBC6AF09C88C6E3) >> 32) * (end - start) >> 32)`, the word as in `id_words`.
        start: First row.
        end: One past the last row; at most 2**32 rows.

    Raises:
        ValueError: There is no row, or there are too many.
    """
    if not 0 < end - start <= 1 << 32:
        raise ValueError(f"unknown ids go to 1 to 2**32 rows, found [{start}, {end})")
    spread(id_words(ids), rows_N, start, np.uint64(end - start))


@kernel
def _write_records(offsets: Any, data: Any, heads: Any, records_R: Any) -> None:
    at = 0
    for i in range(len(offsets) - 1):
        copy_bytes(records_R, at, heads, i * RECORD_HEAD_BYTES, RECORD_HEAD_BYTES)
        length = offsets[i + 1] - offsets[i]
        copy_bytes(records_R, at + RECORD_HEAD_BYTES, data, offsets[i], length)
        at += RECORD_HEAD_BYTES + length

"""The loops over an index's buckets: putting ids in, and finding them. `embsnap.kernels.index` says how they lie.

Shape suffixes: N ids in hand, W words of the table (8 for each bucket), R bytes of records, K examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from embsnap.kernels.bytes_ids import same_bytes, xxh64
from embsnap.kernels.compiler import kernel, primitive
from embsnap.kernels.memory import load_word, match_line, prefetch, unowned
from embsnap.kernels.mixing import mix64

__all__ = ["BUCKET_WORDS", "RECORD_HEAD_BYTES", "find_bytes", "find_words", "insert_ids", "spread"]

BUCKET_WORDS = 8
"""Four words, then their four payloads; a payload of -1 is a free slot."""
RECORD_HEAD_BYTES = 12
"""Row (8 bytes) and length (4 bytes); the id's bytes follow."""

_SLOTS, _LINE_BYTES = 4, 64
_BLOCK, _BYTES_BLOCK, _AHEAD = 4096, 256, 32
_32 = np.uint64(32)
_OOV_SALT = np.uint64(0x8EBC6AF09C88C6E3)


@primitive
def _home(word: Any, num_buckets: Any) -> Any:
    return np.int64(((mix64(word) >> _32) * num_buckets) >> _32)


@primitive
def _record_end(records_R: Any, place: Any) -> Any:
    """Where a record's bytes end; -1 if there is no whole record at `place`."""
    if place < 0 or place + RECORD_HEAD_BYTES > len(records_R):
        return -1
    # the length is the upper half of the word that ends with it
    end = place + RECORD_HEAD_BYTES + np.int64(load_word(records_R, place + 4) >> _32)
    return end if end <= len(records_R) else -1


@primitive
def _is_record(records_R: Any, place: Any, data: Any, start: Any, end: Any) -> Any:
    """Whether the record at `place` is of the id with the bytes `[start, end)` of `data`."""
    record_end = _record_end(records_R, place)
    if record_end < 0:
        return False
    return same_bytes(records_R, place + RECORD_HEAD_BYTES, record_end, data, start, end)


@kernel
def insert_ids(words_N: Any, payloads_N: Any, records_R: Any, words_W: Any, examples_K: Any) -> int:
    """Put the ids into the table; how many of them an earlier id is equal to."""
    words_W, records_R = unowned(words_W), unowned(records_R)
    num_buckets, num_repeats = np.uint64(len(words_W) // BUCKET_WORDS), 0
    homes = np.empty(_BLOCK + _AHEAD, np.int64)
    for block in range(0, len(words_N), _BLOCK):
        length = min(_BLOCK, len(words_N) - block)
        _find_homes(words_N, block, length, num_buckets, homes)
        for i in range(length):
            prefetch(words_W, homes[i + _AHEAD] * _LINE_BYTES)
            word, payload = words_N[block + i], payloads_N[block + i]
            at = _slot_for(words_W, records_R, homes[i], word, payload)
            if np.int64(words_W[at + _SLOTS]) < 0:
                words_W[at], words_W[at + _SLOTS] = word, np.uint64(payload)
            else:
                if num_repeats < len(examples_K):
                    examples_K[num_repeats] = block + i
                num_repeats += 1
    return num_repeats


@primitive
def _find_homes(words_N: Any, start: int, length: int, num_buckets: Any, homes: Any) -> None:
    """The buckets of `length` ids, and some more of the last one's for those who look ahead."""
    for i in range(length):
        homes[i] = _home(words_N[start + i], num_buckets)
    for i in range(length, length + _AHEAD):
        homes[i] = homes[length - 1]


@primitive
def _slot_for(words_W: Any, records_R: Any, bucket: int, word: Any, payload: int) -> Any:
    """Where the id's word stands in the table, or is to stand. There is a free slot."""
    at, slot = bucket * BUCKET_WORDS, 0
    while True:
        other = np.int64(words_W[at + slot + _SLOTS])
        if other < 0 or (words_W[at + slot] == word and _same_records(records_R, other, payload)):
            return at + slot
        slot += 1
        if slot == _SLOTS:
            at, slot = at + BUCKET_WORDS, 0
            if at == len(words_W):
                at = 0


@primitive
def _same_records(records_R: Any, left: Any, right: Any) -> Any:
    if len(records_R) == 0:
        return True
    return _is_record(records_R, left, records_R, right + RECORD_HEAD_BYTES, _record_end(records_R, right))


@primitive
def _payload_at(words_W: Any, at: int, word: Any) -> Any:
    """The largest payload of a word in the bucket that begins at `at`; -1 if it is not there."""
    return match_line(words_W, at * 8, word)


@primitive
def _is_full(words_W: Any, at: int) -> Any:
    return np.int64(words_W[at + BUCKET_WORDS - 1]) >= 0


@primitive
def _payload_after(words_W: Any, at: int, word: Any) -> Any:
    """The payload of a word that is not in the full bucket at `at`, from the buckets after it; -1 if there is none."""
    first = at
    while True:
        at += BUCKET_WORDS
        if at == len(words_W):
            at = 0
        found = _payload_at(words_W, at, word)
        if found >= 0 or not _is_full(words_W, at) or at == first:
            return found


@kernel
def find_words(words_N: Any, start: int, end: int, words_W: Any, rows_N: Any) -> int:
    """Fill in the rows of the integer ids `[start, end)`, -1 where there is none; how many have none."""
    words_W = unowned(words_W)
    num_buckets, num_missing = np.uint64(len(words_W) // BUCKET_WORDS), 0
    homes = np.empty(_BLOCK + _AHEAD, np.int64)
    for block in range(start, end, _BLOCK):
        length = min(_BLOCK, end - block)
        _find_homes(words_N, block, length, num_buckets, homes)
        for i in range(min(_AHEAD, length)):
            prefetch(words_W, homes[i] * _LINE_BYTES)
        for i in range(length):
            prefetch(words_W, homes[i + _AHEAD] * _LINE_BYTES)
            at = homes[i] * BUCKET_WORDS
            row = _payload_at(words_W, at, words_N[block + i])
            if row < 0 and _is_full(words_W, at):
                row = _payload_after(words_W, at, words_N[block + i])
            rows_N[block + i] = row
            num_missing += row < 0
    return num_missing


@kernel
def find_bytes(offsets: Any, data: Any, start: int, end: int, words_W: Any, records_R: Any, rows_N: Any) -> int:
    """How many ids are missing; `-1 - i` if id i lies outside `data`."""
    words_W, records_R = unowned(words_W), unowned(records_R)
    num_buckets, num_missing = np.uint64(len(words_W) // BUCKET_WORDS), 0
    words, homes = np.empty(_BYTES_BLOCK, np.uint64), np.empty(_BYTES_BLOCK, np.int64)
    places = np.empty(_BYTES_BLOCK, np.int64)
    for block in range(start, end, _BYTES_BLOCK):
        length = min(_BYTES_BLOCK, end - block)
        for i in range(length):
            first: Any = np.int64(offsets[block + i])
            last: Any = np.int64(offsets[block + i + 1])
            if first < 0 or last < first or last > len(data):
                return -1 - (block + i)
            words[i] = xxh64(data, first, last)
            homes[i] = _home(words[i], num_buckets)
            prefetch(words_W, homes[i] * _LINE_BYTES)
        for i in range(length):
            places[i] = _payload_at(words_W, homes[i] * BUCKET_WORDS, words[i])
            prefetch(records_R, max(places[i], 0))
        for i in range(length):
            first, last = np.int64(offsets[block + i]), np.int64(offsets[block + i + 1])
            row: Any = np.int64(-1)
            if places[i] >= 0 and _is_record(records_R, places[i], data, first, last):
                row = np.int64(load_word(records_R, places[i]))
            elif places[i] >= 0 or _is_full(words_W, homes[i] * BUCKET_WORDS):
                row = _row_of_bytes(words_W, records_R, homes[i], words[i], data, first, last)
            rows_N[block + i] = row
            num_missing += row < 0
    return num_missing


@primitive
def _row_of_bytes(words_W: Any, records_R: Any, bucket: int, word: Any, data: Any, start: Any, end: Any) -> Any:
    """The row of an id, slot by slot from its bucket on; -1 if it is not there."""
    first = at = bucket * BUCKET_WORDS
    while True:
        for slot in range(_SLOTS):
            place = np.int64(words_W[at + slot + _SLOTS])
            if words_W[at + slot] == word and _is_record(records_R, place, data, start, end):
                return np.int64(load_word(records_R, place))
        if not _is_full(words_W, at):
            return np.int64(-1)
        at += BUCKET_WORDS
        if at == len(words_W):
            at = 0
        if at == first:
            return np.int64(-1)


@kernel
def spread(words_N: Any, rows_N: Any, start: int, num_rows: Any) -> None:
    """Give each id without a row one of the `num_rows` rows from `start` on, by its word."""
    for i in range(len(words_N)):
        if rows_N[i] < 0:
            rows_N[i] = start + np.int64(((mix64(words_N[i] ^ _OOV_SALT) >> _32) * num_rows) >> _32)

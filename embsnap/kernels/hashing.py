"""64-bit keys of entity ids, and the fingerprint of a vocabulary.

Shape suffixes: N entities.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.bytes_ids import hash_ranges
from embsnap.kernels.compiler import frozen, kernel
from embsnap.kernels.mixing import mix64
from embsnap.kernels.threads import run, split
from embsnap.model.vocabulary import BytesIds, Ids, IdType

__all__ = ["add_sums", "fingerprint", "fingerprint_sums", "fingerprint_text", "id_keys", "id_words", "row_keys"]

_ROW_SALT = np.uint64(0xD6E8FEB86659FD93)
_LOW_SALT = np.uint64(0xA0761D6478BD642F)
_HIGH_SALT = np.uint64(0xE7037ED1A0B428DB)


def id_words(ids: Ids, *, threads: int = 1) -> NDArray[np.uint64]:
    """One 64-bit word for each id: an integer's own bits (no copy), or XXH64 with seed 0 of an id's bytes.

    Returns:
        `uint64[N]`, read-only. Different integers have different words; different byte strings nearly always do.

    Raises:
        ValueError: The offsets of byte ids leave their data.
        TypeError: Integer ids are neither int64 nor uint64.
    """
    if not isinstance(ids, BytesIds):
        if ids.dtype not in (np.int64, np.uint64):
            raise TypeError(f"integer ids must be int64 or uint64, found {ids.dtype}")
        return frozen(np.ascontiguousarray(ids).view(np.uint64), np.uint64)
    words_N = np.empty(len(ids), np.uint64)
    offsets, data = frozen(ids.offsets, np.int64), frozen(ids.data, np.uint8)
    tasks = [partial(hash_ranges, offsets, data, *bounds, words_N) for bounds in split(len(ids), threads)]
    for bad in run(tasks, threads):
        if bad >= 0:
            raise ValueError(f"id {bad} has bytes [{offsets[bad]}, {offsets[bad + 1]}) of {len(data)}")
    return frozen(words_N, np.uint64)


def id_keys(ids: Ids, *, threads: int = 1) -> NDArray[np.uint64]:
    """The 64-bit key of each id: `mix64` of its word, so that similar ids have unrelated keys.

    An int64 and a uint64 id of one value have one key, and integers never share one; byte strings nearly never do.
    """
    words_N = id_words(ids, threads=threads)
    return _keys(words_N, np.uint64(0), threads)


def row_keys(start: int, end: int) -> NDArray[np.uint64]:
    """A key for each row of `[start, end)` that has no entity, unrelated to the keys of entities.

    Returns:
        `uint64[end - start]`: `mix64(row ^ 0xD6E8FEB86659FD93)`.
    """
    return _keys(frozen(np.arange(start, end, dtype=np.uint64), np.uint64), _ROW_SALT, 1)


def _keys(words_N: NDArray[np.uint64], salt: np.uint64, threads: int) -> NDArray[np.uint64]:
    keys_N = np.empty(len(words_N), np.uint64)
    run([partial(_mix_range, words_N, salt, *bounds, keys_N) for bounds in split(len(words_N), threads)], threads)
    return keys_N


def fingerprint(id_type: IdType, ids: Ids, rows_N: NDArray[np.int64], *, threads: int = 1) -> str:
    """What identifies a vocabulary: the same for the same (id, row) pairs in whatever order, files and encoding.

    `v1:<id type>:<N>:<32 hexadecimal digits>`. The digits are two sums over all pairs, `high` before `low`, each modulo
    2**64 and written with 16 digits:

        key  = mix64(word)                 word: the 64 bits of an integer id, XXH64 (seed 0) of the bytes of another
        pair = mix64(key + mix64(row ^ 0xD6E8FEB86659FD93))
        high = sum of mix64(pair ^ 0xE7037ED1A0B428DB)
        low  = sum of mix64(pair ^ 0xA0761D6478BD642F)

    `mix64` is SplitMix64's first output for that state (`embsnap.kernels.mixing`); all additions are modulo 2**64;
    strings are hashed as UTF-8. It finds mistakes, not forgeries.

    Args:
        id_type: Type of the ids.
        ids: N ids.
        rows_N: Row of each, `int64[N]`.
        threads: How many threads may work on it.

    Raises:
        ValueError: There are not as many rows as ids, or the offsets of byte ids leave their data.
    """
    return fingerprint_text(id_type, len(rows_N), fingerprint_sums(ids, rows_N, threads=threads))


def fingerprint_sums(ids: Ids, rows_N: NDArray[np.int64], *, threads: int = 1) -> tuple[int, int]:
    """High and low sum of a fingerprint; those of the parts of a vocabulary add up, modulo 2**64.

    Raises:
        ValueError: As for `fingerprint`.
    """
    words_N, rows_N = id_words(ids, threads=threads), frozen(rows_N, np.int64)
    if len(words_N) != len(rows_N):
        raise ValueError(f"{len(words_N)} ids for {len(rows_N)} rows")
    sums = [np.zeros(2, np.uint64) for _ in split(len(rows_N), threads)]
    ranges = zip(split(len(rows_N), threads), sums, strict=True)
    run([partial(_sum_pairs, words_N, rows_N, *bounds, sum_2) for bounds, sum_2 in ranges], threads)
    return add_sums([(int(sum_2[0]), int(sum_2[1])) for sum_2 in sums])


def add_sums(sums: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Those of the whole, from those of its parts."""
    high, low = (sum(one[lane] for one in sums) % (1 << 64) for lane in range(2))
    return high, low


def fingerprint_text(id_type: IdType, num_ids: int, sums: tuple[int, int]) -> str:
    """The fingerprint of `num_ids` pairs with these sums, high and low."""
    return f"v1:{id_type.value}:{num_ids}:{sums[0]:016x}{sums[1]:016x}"


@kernel
def _mix_range(words_N: Any, salt: Any, start: int, end: int, keys_N: Any) -> None:
    for i in range(start, end):
        keys_N[i] = mix64(words_N[i] ^ salt)


@kernel
def _sum_pairs(words_N: Any, rows_N: Any, start: int, end: int, sum_2: Any) -> None:
    high, low = np.uint64(0), np.uint64(0)
    for i in range(start, end):
        pair = mix64(mix64(words_N[i]) + mix64(np.uint64(rows_N[i]) ^ _ROW_SALT))
        high += mix64(pair ^ _HIGH_SALT)
        low += mix64(pair ^ _LOW_SALT)
    sum_2[0], sum_2[1] = high, low

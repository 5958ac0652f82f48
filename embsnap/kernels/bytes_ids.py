"""Hashing and comparing ids of variable length."""

from __future__ import annotations

from typing import Any

import numpy as np

from embsnap.kernels.compiler import kernel, primitive
from embsnap.kernels.memory import load_word

__all__ = ["hash_ranges", "same_bytes", "xxh64"]

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_64 = np.uint64(64)


@primitive
def _rotate(x: Any, bits: int) -> Any:
    return (x << np.uint64(bits)) | (x >> (_64 - np.uint64(bits)))


@primitive
def _half_word(data: Any, at: int) -> Any:
    """Four bytes as a little-endian number."""
    word = np.uint64(0)
    for i in range(4):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return word


@primitive
def _round(lane: Any, word: Any) -> Any:
    return _rotate(lane + word * _P2, 31) * _P1


@primitive
def _merge(total: Any, lane: Any) -> Any:
    return (total ^ _round(np.uint64(0), lane)) * _P1 + _P4


@primitive
def _stripes(data: Any, start: int, end: int) -> Any:
    """The part of XXH64 that takes 32 bytes at a time."""
    one, two, three, four = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
    for at in range(start, end, 32):
        one = _round(one, load_word(data, at))
        two = _round(two, load_word(data, at + 8))
        three = _round(three, load_word(data, at + 16))
        four = _round(four, load_word(data, at + 24))
    total = _rotate(one, 1) + _rotate(two, 7) + _rotate(three, 12) + _rotate(four, 18)
    return _merge(_merge(_merge(_merge(total, one), two), three), four)


@primitive
def xxh64(data: Any, start: int, end: int) -> Any:
    """XXH64 with seed 0 of the bytes `[start, end)` of `data` (uint8 array).

    Source: the xxHash specification, section "XXH64 algorithm description".
    """
    length = end - start
    at = start + length // 32 * 32
    total = _stripes(data, start, at) if length >= 32 else _P5
    total += np.uint64(length)
    while at + 8 <= end:
        total = _rotate(total ^ _round(np.uint64(0), load_word(data, at)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= end:
        total = _rotate(total ^ (_half_word(data, at) * _P1), 23) * _P2 + _P3
        at += 4
    while at < end:
        total = _rotate(total ^ (np.uint64(data[at]) * _P5), 11) * _P1
        at += 1
    total = (total ^ (total >> np.uint64(33))) * _P2
    total = (total ^ (total >> np.uint64(29))) * _P3
    return total ^ (total >> np.uint64(32))


@primitive
def same_bytes(left: Any, left_start: int, left_end: int, right: Any, right_start: int, right_end: int) -> Any:
    """Whether two ranges of bytes are equal."""
    length = left_end - left_start
    if length != right_end - right_start:
        return False
    i = 0
    while i + 8 <= length and load_word(left, left_start + i) == load_word(right, right_start + i):
        i += 8
    if i + 8 < length:
        return False
    if length >= 8:
        return load_word(left, left_end - 8) == load_word(right, right_end - 8)
    while i < length and left[left_start + i] == right[right_start + i]:
        i += 1
    return i == length


@kernel
def hash_ranges(offsets: Any, data: Any, start: int, end: int, hashes_N: Any) -> int:
    """`hashes_N[i] = xxh64(id i)` for the ids `[start, end)`; the first id that lies outside `data`, or -1."""
    for i in range(start, end):
        first, last = offsets[i], offsets[i + 1]
        if first < 0 or last < first or last > len(data):
            return i
        hashes_N[i] = xxh64(data, first, last)
    return -1

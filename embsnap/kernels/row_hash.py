"""Which rows are equal byte for byte, by 128 bits of hash.

Two rows are taken for equal if all 128 bits agree. Among a hundred million different rows some pair does so by accident
with a probability of 1e-23.

Shape suffixes: N rows in hand, V rows of a table, W words of a row, P partitions, M places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel
from embsnap.kernels.mixing import mix64
from embsnap.kernels.radix import partition, partition_bits
from embsnap.kernels.threads import run, split

__all__ = ["DistinctRows", "count_distinct", "hash_rows"]

_SALT = np.uint64(0x8BB84B93962EACC9)
_SECOND = np.uint64(0x4B33A62ED433D4A3)
_29 = np.uint64(29)
_ENTRY_BYTES = 16


@dataclass(frozen=True, slots=True)
class DistinctRows:
    """How many different rows there are."""

    num_distinct: int
    largest_group: int
    """Rows equal to the most frequent one; 0 without rows."""


def hash_rows(rows_ND: NDArray[Any], first_N: NDArray[np.uint64], second_N: NDArray[np.uint64]) -> None:
    """Put 128 bits of hash of each row's bytes into `first_N` and `second_N`.

    The first word is the sum, modulo 2**64, of `mix64(word ^ salt of its place)` over the row's words; the second is a
    sum over the same terms, each multiplied after its bits were folded, so that one sum tells nothing of the other.

    Args:
        rows_ND: C-contiguous `[N, D]` of any type.
        first_N: `uint64[N]`, which gets the first words.
        second_N: `uint64[N]`, which gets the second words.
    """
    row_bytes = rows_ND.shape[1] * rows_ND.dtype.itemsize
    size = next(size for size in (8, 4, 2, 1) if row_bytes % size == 0)
    dtype = np.dtype(f"u{size}")
    words_NW = rows_ND.reshape(-1).view(dtype).reshape(len(rows_ND), row_bytes // size)
    salts_W = np.empty(words_NW.shape[1], np.uint64)
    _salt(salts_W)
    _hash(frozen(words_NW, dtype), salts_W, first_N, second_N)


def count_distinct(
    first_V: NDArray[np.uint64], second_V: NDArray[np.uint64], *, threads: int = 1, memory_bytes: int | None = None
) -> DistinctRows:
    """Count the different pairs of words.

    Args:
        first_V: First words of all rows.
        second_V: Second words.
        threads: How many threads work on it.
        memory_bytes: About how much memory the working copies may take: 16 bytes a row, or as many passes as it needs.
    """
    if not len(first_V):
        return DistinctRows(0, 0)
    bits = partition_bits(len(first_V))
    needed = len(first_V) * _ENTRY_BYTES
    num_passes = min(1 << bits, -(-needed // (memory_bytes or needed)))
    parts = [_count_slice(first_V, second_V, bits, slice_P, threads) for slice_P in split(1 << bits, num_passes)]
    return DistinctRows(sum(part.num_distinct for part in parts), max(part.largest_group for part in parts))


def _count_slice(
    first_V: NDArray[np.uint64], second_V: NDArray[np.uint64], bits: int, slice_P: tuple[int, int], threads: int
) -> DistinctRows:
    found = partition(first_V, second_V.view(np.int64), by_index=False, bits=bits, threads=threads, slice_P=slice_P)
    num_partitions = slice_P[1] - slice_P[0]
    tasks = [
        partial(_distinct, found.entries_M2, found.starts_TP, found.ends_TP, *bounds)
        for bounds in split(num_partitions, threads * 4)
    ]
    counts = run(tasks, threads)
    return DistinctRows(sum(num for num, _ in counts), max(largest for _, largest in counts))


@kernel
def _salt(salts_W: Any) -> None:
    for j in range(len(salts_W)):
        salts_W[j] = mix64(_SALT + np.uint64(j))


@kernel
def _hash(words_NW: Any, salts_W: Any, first_N: Any, second_N: Any) -> None:
    for i in range(words_NW.shape[0]):
        first, second = np.uint64(0), np.uint64(0)
        for j in range(words_NW.shape[1]):
            mixed = mix64(np.uint64(words_NW[i, j]) ^ salts_W[j])
            first += mixed
            second += (mixed ^ (mixed >> _29)) * _SECOND
        first_N[i], second_N[i] = first, second


@kernel
def _distinct(entries_M2: Any, starts_TP: Any, ends_TP: Any, begin: int, end: int) -> tuple[int, int]:
    """Different entries of the partitions `[begin, end)`, and how many are equal to the most frequent."""
    num_distinct, largest = 0, 0
    for p in range(begin, end):
        total = 0
        for t in range(starts_TP.shape[0]):
            total += ends_TP[t, p] - starts_TP[t, p]
        size = 16
        while size < 2 * total:
            size *= 2
        slots_S2, counts_S = np.empty((size, 2), np.uint64), np.zeros(size, np.int64)
        for t in range(starts_TP.shape[0]):
            for m in range(starts_TP[t, p], ends_TP[t, p]):
                slot = np.int64(entries_M2[m, 1]) & (size - 1)
                while counts_S[slot] and (
                    slots_S2[slot, 0] != entries_M2[m, 0] or slots_S2[slot, 1] != entries_M2[m, 1]
                ):
                    slot = (slot + 1) & (size - 1)
                if not counts_S[slot]:
                    slots_S2[slot, 0], slots_S2[slot, 1] = entries_M2[m, 0], entries_M2[m, 1]
                    num_distinct += 1
                counts_S[slot] += 1
                largest = max(largest, counts_S[slot])
    return num_distinct, largest

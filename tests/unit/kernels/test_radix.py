"""Partitioning by the top bits of a key."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from embsnap.kernels.compiler import frozen
from embsnap.kernels.hashing import id_keys
from embsnap.kernels.radix import Partitioned, partition, partition_bits


def _partitioned(ids: np.ndarray, rows: np.ndarray, *, bits: int, threads: int, by_index: bool = False) -> Partitioned:
    words = frozen(ids.view(np.uint64), np.uint64)
    return partition(words, frozen(rows, np.int64), by_index=by_index, bits=bits, threads=threads)


def _expected(ids: np.ndarray, bits: int, threads: int) -> list[list[list[int]]]:
    """Indices by range and partition, in order."""
    homes = (id_keys(ids) >> np.uint64(64 - bits)).tolist()
    bounds = [len(ids) * t // threads for t in range(threads + 1)]
    return [
        [[i for i in range(start, end) if homes[i] == p] for p in range(1 << bits)] for start, end in pairwise(bounds)
    ]


EVEN = np.random.default_rng(0).integers(-(2**62), 2**62, 3000)
SKEWED = np.where(np.arange(3000) % 3, 7, EVEN)
"""One id is two thirds of it: no guess leaves room for that."""


@pytest.mark.parametrize("by_index", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bits", [1, 5, 9])
@pytest.mark.parametrize("ids", [EVEN, SKEWED], ids=["even", "skewed"])
def test_each_id_is_in_its_partition_in_order(ids, bits, threads, by_index):
    rows = np.random.default_rng(1).integers(0, 2**63 - 1, len(ids))
    found, keys = _partitioned(ids, rows, bits=bits, threads=threads, by_index=by_index), id_keys(ids)
    for t, segments in enumerate(_expected(ids, bits, threads)):
        for p, indices in enumerate(segments):
            entries = found.entries_M2[found.starts_TP[t, p] : found.ends_TP[t, p]]
            assert entries[:, 0].tolist() == keys[indices].tolist()
            assert entries[:, 1].tolist() == (indices if by_index else rows[indices].tolist())
    assert (found.min_row, found.max_row) == (rows.min(), rows.max())


@pytest.mark.parametrize("threads", [1, 3])
def test_places_lead_back_to_indices(threads):
    found = _partitioned(SKEWED, np.arange(3000), bits=4, threads=threads)
    places = np.concatenate(
        [np.arange(s, e) for s, e in zip(found.starts_TP.ravel(), found.ends_TP.ravel(), strict=True)]
    )
    indices = found.entries_M2[places, 1].astype(np.int64)
    chosen = np.random.default_rng(2).permutation(3000)[:40]
    assert found.indices_of(places[chosen], 100) == tuple(sorted(indices[chosen].tolist()))
    assert found.indices_of(places[chosen], 5) == tuple(sorted(indices[chosen].tolist())[:5])
    assert found.indices_of(places[:0], 5) == ()


def test_no_ids():
    found = _partitioned(np.zeros(0, np.int64), np.zeros(0, np.int64), bits=3, threads=2)
    assert (found.ends_TP == found.starts_TP).all()
    assert (found.min_row, found.max_row) == (0, -1)


@pytest.mark.parametrize("num_ids", [0, 1, 10**5, 10**7, 10**9, 10**12])
def test_partitions_stay_small_while_there_are_not_too_many(num_ids):
    bits = partition_bits(num_ids)
    assert 1 <= bits <= 14
    assert bits == 14 or num_ids / (1 << bits) <= 16_384

"""Distinct rows, against `numpy.unique`."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from embsnap.kernels.row_hash import count_distinct, hash_rows


def _counted(rows, **options):
    first, second = np.empty(len(rows), np.uint64), np.empty(len(rows), np.uint64)
    hash_rows(rows, first, second)
    found = count_distinct(first, second, **options)
    return found.num_distinct, found.largest_group


def _expected(rows):
    _, counts = np.unique(rows.view(np.uint8).reshape(len(rows), -1), axis=0, return_counts=True)
    return len(counts), int(counts.max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.uint8])
@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8, 64])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_equal_rows(dtype, dim, threads):
    rows = np.ascontiguousarray(np.random.default_rng(dim).integers(0, 3, (3000, dim)).astype(dtype))
    assert _counted(rows, threads=threads) == _expected(rows)


def test_several_passes_count_as_one():
    rows = np.random.default_rng(0).integers(0, 30, (50_000, 2)).astype(np.float32)
    assert _counted(rows, threads=2, memory_bytes=100_000) == _expected(rows)


def test_all_equal_and_all_different():
    assert _counted(np.ones((40_000, 4), np.float32)) == (1, 40_000)
    assert _counted(np.arange(40_000, dtype=np.float32).reshape(-1, 1)) == (40_000, 1)


def test_no_rows():
    assert _counted(np.empty((0, 4), np.float32)) == (0, 0)


def test_bytes_count_not_values():
    """The two zeros differ, and a NaN is equal to itself."""
    rows = np.array([[0.0], [-0.0], [np.nan], [np.nan]], np.float32)
    assert _counted(rows) == (3, 2)


def test_swapped_elements_are_another_row():
    assert _counted(np.array([[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3]], np.float32)) == (3, 1)

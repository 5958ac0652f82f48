"""Rows in several runs of memory, against one array of them."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.kernels.bands import RowBands
from embsnap.kernels.pairs import Comparison, compare_bands, compare_rows

LENGTHS = [[10], [4, 4, 2], [1, 1, 1, 7], [9, 1]]


def cut(rows_ND, lengths):
    """Each band in memory of its own, in another order than their rows'."""
    bounds = np.cumsum([0, *lengths])
    copies = {i: rows_ND[bounds[i] : bounds[i + 1]].copy() for i in reversed(range(len(lengths)))}
    return RowBands.of([copies[i] for i in range(len(lengths))])


@pytest.mark.parametrize("lengths_a", LENGTHS)
@pytest.mark.parametrize("lengths_b", LENGTHS)
@pytest.mark.parametrize("dtypes", [(np.float32, np.float32), (np.float64, np.float32)])
def test_pairs_are_found_wherever_they_lie(lengths_a, lengths_b, dtypes):
    rng = np.random.default_rng(0)
    a_ND, b_ND = (rng.standard_normal((10, 20)).astype(dtype) for dtype in dtypes)
    rows_a_N = np.array([3, -1, 9, 9, 0, 4, 8])
    found = Comparison.empty(7, norms=True)
    a = cut(a_ND, lengths_a)
    counts_P = compare_bands(a, rows_a_N, cut(b_ND, lengths_b), 2, found)
    expected = compare_rows(a_ND[rows_a_N], b_ND[2:9], rows_a_N >= 0)
    for name in ("norm_a_N", "norm_b_N", "distance_N", "cosine_N", "relative_N", "flags_N"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    picked = np.searchsorted(a.starts_P, rows_a_N[rows_a_N >= 0], side="right") - 1
    assert counts_P.tolist() == np.bincount(picked, minlength=len(lengths_a)).tolist()


def test_rows_of_one_band():
    rows_ND = np.arange(20.0).reshape(10, 2)
    bands = cut(rows_ND, [4, 6])
    np.testing.assert_array_equal(bands.rows(4, 10), rows_ND[4:])
    np.testing.assert_array_equal(bands.rows(1, 3), rows_ND[1:3])
    assert bands.rows(3, 5) is None
    assert (bands.num_rows, bands.dim, bands.dtype) == (10, 2, np.float64)


def test_what_does_not_fit():
    bands, out = RowBands.of([np.ones((3, 2))]), Comparison.empty(2, norms=False)
    for rows_a, first_b in (([0, 3], 0), ([0, 1], 2), ([0, 1], -1)):
        with pytest.raises(IndexError):
            compare_bands(bands, np.array(rows_a), bands, first_b, out)
    with pytest.raises(ValueError, match="elements"):
        compare_bands(bands, np.array([0, 1]), RowBands.of([np.ones((3, 5))]), 0, out)
    with pytest.raises(ValueError, match="bands"):
        RowBands.of([np.ones((3, 2)), np.ones((3, 4))])


def test_no_rows():
    bands = RowBands.of([np.empty((0, 4), np.float32)])
    assert compare_bands(bands, np.empty(0, np.int64), bands, 0, Comparison.empty(0, norms=True)).tolist() == [0]

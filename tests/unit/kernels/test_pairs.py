"""Rows compared pair by pair, against numpy in more digits than float64 has."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from embsnap.kernels.pairs import IDENTICAL, NON_FINITE, ZERO, compare_rows, floats_of


def compared(a_ND, b_ND):
    return compare_rows(floats_of(a_ND), floats_of(b_ND), np.ones(len(a_ND), bool))


def check(a_ND, b_ND):
    found = compared(a_ND, b_ND)
    a, b = a_ND.astype(np.longdouble), b_ND.astype(np.longdouble)
    norm_a, norm_b = (np.sqrt((rows**2).sum(axis=1)) for rows in (a, b))
    distance = np.sqrt(((b - a) ** 2).sum(axis=1))
    for got, expected in (
        (found.norm_a_N, norm_a),
        (found.norm_b_N, norm_b),
        (found.distance_N, distance),
        (found.cosine_N, (a * b).sum(axis=1) / (norm_a * norm_b)),
        (found.relative_N, distance / norm_a),
    ):
        np.testing.assert_allclose(got, expected.astype(np.float64), rtol=1e-13, atol=1e-15)
    assert found.flags_N.tolist() == (a == b).all(axis=1).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8])
@pytest.mark.parametrize("dim", [1, 3, 64, 130])
def test_every_dtype_and_width(dtype, dim):
    rng = np.random.default_rng(dim)
    a_ND, b_ND = (rng.uniform(1, 100, (2, 50, dim)) * rng.choice([-1, 1], (2, 50, dim))).astype(dtype)
    check(a_ND, b_ND)


@pytest.mark.parametrize("scale", [1e-38, 1e-44, 1e38])
def test_the_ends_of_float32(scale):
    rng = np.random.default_rng(0)
    a_ND = (rng.uniform(1, 3, (20, 8)) * scale).astype(np.float32)
    check(a_ND, (a_ND * np.float32(0.5) + np.float32(scale)).astype(np.float32))


@pytest.mark.parametrize(("scale_a", "scale_b"), [(1e200, 1e200), (1e-200, 1e-200), (1e-200, 1e-160), (1e307, 1e300)])
def test_squares_that_float64_does_not_hold(scale_a, scale_b):
    rng = np.random.default_rng(0)
    check(rng.uniform(1, 3, (20, 4)) * scale_a, -rng.uniform(1, 3, (20, 4)) * scale_b)


def test_two_dtypes_side_by_side():
    rng = np.random.default_rng(0)
    a_ND = rng.standard_normal((20, 5)).astype(np.float32)
    check(a_ND, rng.standard_normal((20, 5)))


def test_rows_with_nothing_to_compare():
    nan, inf = np.nan, np.inf
    a_ND = np.array([[1, 2], [0, 0], [0, 0], [1, 1], [nan, 1], [inf, 1], [1, 1], [nan, 1]], np.float32)
    b_ND = np.array([[1, 2], [0, 0], [1, 1], [0, 0], [1, 1], [1, 1], [nan, 1], [nan, 1]], np.float32)
    found = compared(a_ND, b_ND)
    assert found.flags_N.tolist() == [
        *(IDENTICAL, IDENTICAL | ZERO, ZERO, ZERO, NON_FINITE, NON_FINITE, NON_FINITE, IDENTICAL | NON_FINITE)
    ]
    np.testing.assert_array_equal(found.cosine_N, [1, nan, nan, nan, nan, nan, nan, nan])
    np.testing.assert_array_equal(found.relative_N, [0, 0, nan, 1, nan, nan, nan, nan])
    np.testing.assert_array_equal(found.distance_N[:4], [0, 0, np.sqrt(2), np.sqrt(2)])
    assert np.isnan(found.distance_N[4:]).all()


def test_equal_rows_have_a_cosine_of_exactly_one_and_none_is_beyond():
    rng = np.random.default_rng(0)
    rows_ND = rng.standard_normal((2000, 7)).astype(np.float32)
    assert (compared(rows_ND, rows_ND.copy()).cosine_N == 1).all()
    assert (np.abs(compared(rows_ND, -3 * rows_ND).cosine_N) <= 1).all()


def test_pairs_that_are_left_out_stay_empty():
    rows_ND = np.ones((3, 2), np.float32)
    found = compare_rows(rows_ND, rows_ND, np.array([True, False, True]))
    assert np.isnan([found.norm_a_N[1], found.cosine_N[1], found.distance_N[1]]).all()
    assert found.flags_N.tolist() == [IDENTICAL, 0, IDENTICAL]


def test_a_pair_depends_on_itself_alone():
    rng = np.random.default_rng(0)
    a_ND, b_ND = rng.standard_normal((2, 100, 33)).astype(np.float32)
    whole = compared(a_ND, b_ND)
    np.testing.assert_array_equal(whole.cosine_N[41:43], compared(a_ND[41:43], b_ND[41:43]).cosine_N)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="rows"):
        compare_rows(np.ones((2, 2)), np.ones((2, 3)), np.ones(2, bool))


def test_complex_rows_have_no_cosine():
    with pytest.raises(TypeError, match="complex64"):
        floats_of(np.ones((1, 1), np.complex64))

"""Sums over blocks of rows, against numpy in extended precision."""

from __future__ import annotations

from math import fsum

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embsnap.kernels.row_sums import RowSums, block_rows, combined, no_sums, sum_blocks


def _summed(rows, *, gram=True):
    """All rows, block by block."""
    norms = np.empty(len(rows))
    return norms, combined(sum_blocks(rows, norms, gram=gram), rows.shape[1], gram=gram)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (10_000, 64), (70_000, 1), (9, 300), (0, 4)])
def test_they_are_numpys(dtype, shape):
    rows = np.random.default_rng(1).normal(0.5, 2, shape).astype(dtype)
    exact = rows.astype(np.longdouble)
    norms, sums = _summed(rows)
    np.testing.assert_allclose(norms, np.sqrt((exact**2).sum(1)).astype(float), rtol=1e-14)
    assert (sums.num_rows, sums.num_units) == (len(rows), len(rows))
    if len(rows):
        mean = exact.mean(0)
        np.testing.assert_allclose(sums.mean_D, mean.astype(float), rtol=1e-12, atol=1e-14)
        centred = (exact - mean).astype(float)
        np.testing.assert_allclose(sums.square_D, (centred**2).sum(0), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(sums.gram_DD, centred.T @ centred, rtol=1e-9, atol=1e-9)
        directions = (exact / np.sqrt((exact**2).sum(1))[:, None]).sum(0)
        np.testing.assert_allclose(sums.unit_D, directions.astype(float), rtol=1e-11, atol=1e-9)


def test_rows_that_are_not_finite_are_left_out():
    rows = np.ones((6, 3), np.float32)
    rows[1, 2], rows[3, 0], rows[4, 1], rows[5] = np.nan, np.inf, -np.inf, 0
    norms, sums = _summed(rows)
    assert np.isnan(norms).tolist() == [False, True, False, True, True, False]
    assert (sums.num_rows, sums.num_units) == (3, 2)
    np.testing.assert_allclose(sums.mean_D, 2 / 3)
    np.testing.assert_allclose(sums.gram_DD, np.full((3, 3), 2 / 3))


@pytest.mark.parametrize("value", [1e-45, 1e-38, 3e38])
def test_the_ends_of_float32(value):
    rows = np.full((100, 16), value, np.float32)
    norms, sums = _summed(rows)
    np.testing.assert_allclose(norms, float(np.float32(value)) * 4, rtol=1e-15)
    np.testing.assert_allclose(sums.mean_D, float(np.float32(value)), rtol=1e-14)
    np.testing.assert_allclose(sums.unit_D, 25.0, rtol=1e-13)


@pytest.mark.parametrize("value", [5e-324, 1e-310, 1e-200, 1e200, 1e307])
def test_norms_stay_within_float64(value):
    rows = np.array([[3 * value, 4 * value], [0.0, 0.0]])
    norms, sums = _summed(rows, gram=False)
    np.testing.assert_allclose(norms, [5 * value, 0], rtol=1e-15)
    np.testing.assert_allclose(sums.unit_D, [0.6, 0.8], rtol=1e-12)


def test_each_block_is_summed_alone():
    rows = np.random.default_rng(2).normal(0, 1, (block_rows(3) * 2 + 5, 3)).astype(np.float32)
    norms, alone = np.empty(len(rows)), np.empty(len(rows))
    together = sum_blocks(rows, norms, gram=True)
    assert [sums.num_rows for sums in together] == [block_rows(3), block_rows(3), 5]
    for number, sums in enumerate(together):
        here = slice(number * block_rows(3), (number + 1) * block_rows(3))
        (single,) = sum_blocks(rows[here], alone[here], gram=True)
        assert single.mean_D.tolist() == sums.mean_D.tolist()
        assert single.gram_DD.tolist() == sums.gram_DD.tolist()
    assert norms.tolist() == alone.tolist()


def test_without_the_gram_matrix_there_is_none():
    assert _summed(np.ones((3, 2), np.float32), gram=False)[1].gram_DD.shape == (0, 0)


def test_a_spread_that_naive_sums_lose():
    """Mean 1e8, standard deviation 1: the textbook formula in float64 has no digit of the variance left."""
    rows = np.random.default_rng(0).normal(1e8, 1, (200_000, 2))
    naive = (rows**2).mean(0) - rows.mean(0) ** 2
    _, sums = _summed(rows)
    exact = rows.astype(np.longdouble).var(0).astype(float)
    assert abs(naive / exact - 1).max() > 1e-2
    np.testing.assert_allclose(sums.square_D / len(rows), exact, rtol=1e-8)


def _block(values):
    """The sums of a block of one column, exactly rounded."""
    mean = fsum(values) / len(values)
    squares = fsum((value - mean) ** 2 for value in values)
    return RowSums(
        *(len(values), len(values), np.array([mean]), np.array([squares])),
        unit_D=np.array([float(len(values))]),
        gram_DD=np.array([[squares]]),
    )


def test_a_hundred_million_rows_keep_their_digits():
    """Blocks of 4,096 rows are combined as `Scan` does it, 16 by 16; a running sum of as many is off by far more."""
    small = _block([0.1] * 4095 + [1000.1])
    blocks = 100_000_000 // 4096
    total = no_sums(1, gram=True)
    for start in range(0, blocks, 16):
        stripe = combined([small] * min(16, blocks - start), 1, gram=True)
        total = combined([total, stripe], 1, gram=True)
    num_rows = blocks * 4096
    assert total.num_rows == num_rows
    mean = fsum([0.1] * 4095 + [1000.1]) / 4096
    np.testing.assert_allclose(total.mean_D, mean, rtol=2e-14)
    np.testing.assert_allclose(total.square_D, small.square_D * blocks, rtol=1e-12)
    np.testing.assert_allclose(total.gram_DD, small.gram_DD * blocks, rtol=1e-12)
    running = np.cumsum(np.tile(np.array([0.1] * 4095 + [1000.1]), blocks // 16))[-1]
    exact = mean * (blocks // 16) * 4096
    assert abs(running / exact - 1) > 100 * abs(total.mean_D[0] / mean - 1)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.integers(1, 9)),
        elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, 0.0, -0.0, 1e-38, 1e38]),
    ),
    st.integers(1, 7),
)
def test_blocks_make_no_difference(rows, step):
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    norms = np.empty(len(rows))
    pieces = [
        sums
        for i, part in enumerate(parts)
        for sums in sum_blocks(part, norms[i * step : i * step + len(part)], gram=True)
    ]
    split, (whole_norms, whole) = combined(pieces, rows.shape[1], gram=True), _summed(rows)
    np.testing.assert_array_equal(norms, whole_norms)
    assert (split.num_rows, split.num_units) == (whole.num_rows, whole.num_units)
    scale = max(1e-30, float(np.nanmax(np.where(np.isfinite(rows), np.abs(rows), 0))))
    np.testing.assert_allclose(split.mean_D / scale, whole.mean_D / scale, atol=1e-12)
    np.testing.assert_allclose(split.gram_DD / scale / scale, whole.gram_DD / scale / scale, atol=1e-10)
    np.testing.assert_allclose(split.unit_D, whole.unit_D, atol=1e-9)

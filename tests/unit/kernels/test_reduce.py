"""Means, covariances and norms."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest

from embsnap.kernels import reduce
from embsnap.kernels.reduce import RowMoments, row_norms

DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(reduce, "BLOCK_ROWS", 1000)
    monkeypatch.setattr(reduce, "_CHUNK_ROWS", 300)


def _rows(num_rows=4321, dim=5, dtype=np.float32, mean=0.0):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(num_rows, dim)) @ rng.normal(size=(dim, dim)) + mean).astype(dtype)


def _moments(rows, blocks=None, *, covariance=True):
    moments = RowMoments(*rows.shape, covariance=covariance)
    for block in range(moments.num_blocks) if blocks is None else blocks:
        moments.add(block, rows[block * 1000 : (block + 1) * 1000])
    return moments.result()


@pytest.mark.parametrize("mean", [0.0, 1e4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_and_covariance(dtype, mean):
    rows = _rows(dtype=dtype, mean=mean)
    found, exact = _moments(rows), rows.astype(np.float64)
    assert found.num_rows == 4321
    assert np.allclose(found.mean_D, exact.mean(axis=0), rtol=1e-12)
    assert np.allclose(found.covariance_DD, np.cov(exact.T, ddof=0), rtol=1e-9, atol=1e-9)
    assert (found.covariance_DD == found.covariance_DD.T).all()
    np.linalg.cholesky(found.covariance_DD + 1e-6 * np.eye(5))


def test_the_bits_of_bfloat16_are_bfloat16():
    rows = _rows(dtype=ml_dtypes.bfloat16)
    assert (_moments(rows.view(np.uint16)).mean_D == _moments(rows).mean_D).all()
    assert (row_norms(rows.view(np.uint16)) == row_norms(rows)).all()


def test_neither_order_nor_threads_change_a_bit():
    rows = _rows(num_rows=9_500)
    one = _moments(rows)
    for order in (range(9, -1, -1), [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]):
        other = _moments(rows, order)
        assert (other.mean_D == one.mean_D).all()
        assert (other.covariance_DD == one.covariance_DD).all()
    moments = RowMoments(*rows.shape, covariance=True)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda block: moments.add(block, rows[block * 1000 : (block + 1) * 1000]), range(10)))
    assert (moments.result().covariance_DD == one.covariance_DD).all()


def test_a_mean_alone_takes_no_covariance():
    found = _moments(_rows(), covariance=False)
    assert found.covariance_DD.shape == (0, 0)
    assert (found.mean_D == _moments(_rows()).mean_D).all()


def test_rows_that_are_not_contiguous():
    rows = _rows(num_rows=2000)
    assert (_moments(rows[::2]).mean_D == _moments(rows[::2].copy()).mean_D).all()


def test_a_block_that_is_missing_repeated_or_of_another_shape_is_refused():
    rows = _rows(num_rows=2500)
    moments = RowMoments(2500, 5)
    with pytest.raises(ValueError, match="block 0 of 3 is missing"):
        moments.result()
    moments.add(2, rows[2000:])
    moments.add(0, rows[:1000])
    for block in (0, 2):
        with pytest.raises(ValueError, match=f"block {block} was added before"):
            moments.add(block, rows[block * 1000 :][:1000])
    with pytest.raises(ValueError, match="block 1 of 3 is missing"):
        moments.result()
    with pytest.raises(ValueError, match=r"block 1 must have the shape \(1000, 5\), found \(999, 5\)"):
        moments.add(1, rows[:999])
    with pytest.raises(ValueError, match="there is no block 3"):
        moments.add(3, rows)
    with pytest.raises(ValueError, match="without rows"):
        RowMoments(0, 5)


@pytest.mark.parametrize("dim", [0, 1, 3, 4, 7, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_norms(dtype, dim):
    rows = np.random.default_rng(0).normal(size=(700, dim)).astype(dtype)
    norms = row_norms(rows)
    assert norms.dtype == np.float64
    assert np.allclose(norms, np.linalg.norm(rows.astype(np.float64), axis=1), rtol=1e-14)
    assert (row_norms(rows[300:310]) == norms[300:310]).all()


def test_norms_of_what_is_not_finite():
    rows = np.array([[np.inf, 1], [np.nan, 1], [3, 4]], np.float32)
    assert row_norms(rows)[0] == np.inf
    assert np.isnan(row_norms(rows)[1])
    assert row_norms(rows)[2] == 5


def test_integers_are_no_rows():
    with pytest.raises(TypeError, match="int64"):
        row_norms(np.ones((3, 3), np.int64))

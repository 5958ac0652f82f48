"""First values of rows: what they depend on, and how they are distributed."""

from __future__ import annotations

import hashlib
from statistics import NormalDist

import numpy as np
import pytest

from embsnap.kernels.hashing import id_keys, row_keys
from embsnap.kernels.initialize import (
    Constant,
    MultivariateNormal,
    Normal,
    TruncatedNormal,
    Uniform,
    clip_norms,
    fill,
    table_key,
)

USER = table_key("user")
KEYS = id_keys(np.arange(20_000))
FACTOR = np.array([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 0.3, 0.1]])
MEAN = np.array([1.0, -2.0, 0.0])
SPECS = [
    Constant(0.25),
    Constant(MEAN),
    Uniform(-0.5, 1.5),
    Normal(1.0, 2.0),
    TruncatedNormal(-1.0, 0.5),
    MultivariateNormal(MEAN, FACTOR),
]
RANDOM = SPECS[2:]


def _filled(spec, keys=KEYS, *, dim=3, dtype=np.float32, table=USER, seed=0):
    out = np.full((len(keys), dim), np.nan, dtype)
    fill(out, keys, table_key=table, seed=seed, spec=spec)
    return out


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_a_row_depends_on_its_key_alone(spec):
    whole = _filled(spec)
    order = np.random.default_rng(0).permutation(len(KEYS))
    assert (_filled(spec, KEYS[order]) == whole[order]).all()
    assert (np.vstack([_filled(spec, part) for part in np.array_split(KEYS, 7)]) == whole).all()
    assert (_filled(spec, KEYS[:1]) == whole[:1]).all()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_values_are_rounded_once(spec):
    assert (_filled(spec, dtype=np.float64).astype(np.float32) == _filled(spec)).all()


@pytest.mark.parametrize("spec", RANDOM, ids=lambda spec: type(spec).__name__)
def test_seed_and_table_change_every_row(spec):
    one = _filled(spec)
    for other in (_filled(spec, seed=1), _filled(spec, seed=-1), _filled(spec, table=table_key("users"))):
        assert (one != other).any(axis=1).all()
        assert abs(np.corrcoef(one[:, 0], other[:, 0])[0, 1]) < 0.03
    assert (_filled(spec, seed=2**64) == one).all()


@pytest.mark.parametrize("spec", RANDOM, ids=lambda spec: type(spec).__name__)
def test_neighbouring_keys_and_columns_are_unrelated(spec):
    for keys in (KEYS, np.arange(20_000, dtype=np.uint64), row_keys(0, 20_000)):
        rows = _filled(spec, keys, dtype=np.float64)
        assert abs(np.corrcoef(rows[1:, 0], rows[:-1, 0])[0, 1]) < 0.03
        if not isinstance(spec, MultivariateNormal):
            assert np.abs(np.corrcoef(rows.T) - np.eye(3)).max() < 0.03


def _chi_square(values, quantile):
    """Of the counts in 64 intervals of equal probability; its mean is 63 and its standard deviation 11."""
    edges = [quantile(i / 64) for i in range(1, 64)]
    counts = np.bincount(np.searchsorted(edges, values.ravel()), minlength=64)
    expected = values.size / 64
    return float(((counts - expected) ** 2 / expected).sum())


def test_values_follow_their_distributions():
    normal = NormalDist()
    cut = normal.cdf(-2)
    assert _chi_square(_filled(Uniform(-0.5, 1.5), dim=8), lambda p: 2 * p - 0.5) < 110
    assert _chi_square(_filled(Normal(1.0, 2.0), dim=8), lambda p: 1 + 2 * normal.inv_cdf(p)) < 110
    truncated = _filled(TruncatedNormal(-1.0, 0.5), dim=8)
    assert _chi_square(truncated, lambda p: -1 + 0.5 * normal.inv_cdf(cut + p * (1 - 2 * cut))) < 110
    assert truncated.min() >= -2
    assert truncated.max() <= 0


def test_every_bit_of_a_uniform_value_is_fair():
    words = (_filled(Uniform(0.0, 1.0), dim=8, dtype=np.float64) * 2**32).astype(np.uint64)
    for bit in range(32):
        ones = ((words >> np.uint64(bit)) & np.uint64(1)).mean()
        assert abs(ones - 0.5) < 5 * 0.5 / np.sqrt(words.size)


def test_correlated_rows_have_the_given_mean_and_covariance():
    rows = _filled(MultivariateNormal(MEAN, FACTOR), id_keys(np.arange(200_000)), dtype=np.float64)
    covariance = FACTOR @ FACTOR.T
    assert np.abs(rows.mean(axis=0) - MEAN).max() < 0.02
    assert np.abs(np.cov(rows.T) - covariance).max() < 0.03


def test_what_stands_above_the_diagonal_of_the_factor_is_not_read():
    nonsense = FACTOR + np.triu(np.full((3, 3), np.nan), 1)
    assert (_filled(MultivariateNormal(MEAN, nonsense)) == _filled(MultivariateNormal(MEAN, FACTOR))).all()


def test_constants():
    assert (_filled(Constant(0.25)) == 0.25).all()
    assert (_filled(Constant(MEAN)) == MEAN.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("spec", "digest"),
    [
        (Uniform(-0.5, 1.5), "358b99e442c20d66"),
        (Normal(1.0, 2.0), "644c4db45e099b17"),
        (TruncatedNormal(-1.0, 0.5), "cfc020d657574cc2"),
        (MultivariateNormal(MEAN, FACTOR), "443befad0af01b08"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_the_same_on_every_machine_and_in_every_release(spec, digest):
    assert hashlib.sha256(_filled(spec, dtype=np.float64).astype("<f8").tobytes()).hexdigest()[:16] == digest


def test_a_name_has_one_key():
    assert table_key("user") == int.from_bytes(hashlib.blake2b(b"user", digest_size=8).digest(), "little")
    assert len({table_key(name) for name in ("user", "users", "", "é")}) == 4


def test_nothing_to_fill():
    assert _filled(Normal(0.0, 1.0), KEYS[:0]).shape == (0, 3)
    assert _filled(Normal(0.0, 1.0), KEYS[:4], dim=0).shape == (4, 0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="float32 or float64, found float16"):
        _filled(Constant(0.0), dtype=np.float16)
    with pytest.raises(ValueError, match="C-contiguous"):
        fill(np.zeros((4, 4), np.float32)[:, ::2], KEYS[:4], table_key=0, seed=0, spec=Constant(0.0))
    with pytest.raises(ValueError, match="3 keys for 4 rows"):
        fill(np.zeros((4, 4), np.float32), KEYS[:3], table_key=0, seed=0, spec=Constant(0.0))
    with pytest.raises(ValueError, match="do not fit rows of 4"):
        _filled(MultivariateNormal(MEAN, FACTOR), dim=4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_rows_are_scaled_down_to_the_largest_norm(dtype):
    rows = np.array([[3, 4, 0], [0.3, 0.4, 0], [0, 0, 0], [-6, 0, 8]], dtype)
    clip_norms(rows, 1.0)
    assert np.allclose(np.linalg.norm(rows, axis=1), [1, 0.5, 0, 1])
    assert (rows[1] == np.array([0.3, 0.4, 0], dtype)).all()
    assert np.allclose(rows[3], [-0.6, 0, 0.8])
    clip_norms(rows, 0.0)
    assert not rows.any()


@pytest.mark.parametrize("max_norm", [-1.0, float("nan")])
def test_a_largest_norm_that_is_none_is_refused(max_norm):
    with pytest.raises(ValueError, match="must not be negative"):
        clip_norms(np.ones((1, 1), np.float32), max_norm)

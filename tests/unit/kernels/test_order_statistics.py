"""Order statistics, against numpy's of sorted values."""

from __future__ import annotations

from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.kernels.order_statistics import OrderStatistics, mean_and_std

_NUMBERS = st.floats(allow_infinity=False) | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308])


@settings(max_examples=200, deadline=None)
@given(st.lists(_NUMBERS, max_size=40))
def test_any_values(numbers):
    _check(np.array(numbers, np.float64), threads=1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda rng: rng.standard_normal(200_001),
        lambda rng: np.exp(rng.uniform(-600, 600, 200_001)),
        lambda rng: np.where(rng.random(200_001) < 0.999, 1.0, rng.random(200_001)),
        lambda rng: np.where(rng.random(200_001) < 0.5, np.nan, rng.integers(0, 3, 200_001)),
        lambda rng: rng.uniform(-1.0, 1.0, 200_001) * 1.7e308,
        lambda rng: rng.integers(-9, 9, 200_001) * 5e-324,
        lambda rng: np.where(np.arange(200_001) % 7, rng.standard_normal(200_001) * 1e-9, np.inf),
    ],
    ids=["normal", "decades", "ties", "few", "huge", "subnormal", "infinite"],
)
def test_any_distribution(make, threads):
    _check(make(np.random.default_rng(1)), threads=threads)


def _check(values, threads):
    ordered = np.sort(values[~np.isnan(values)])
    found = OrderStatistics(values, threads=threads)
    assert found.num == len(ordered)
    ranks = (
        sorted({*range(0, len(ordered), 997), len(ordered) - 1} - {-1}) if len(ordered) > 40 else range(len(ordered))
    )
    assert found.at(ranks) == ordered[list(ranks)].tolist()
    bounds = [*ordered[:: 1 + len(ordered) // 50].tolist(), -1.0, 0.0, np.inf, -np.inf]
    assert found.num_below(bounds).tolist() == np.searchsorted(ordered, bounds, side="left").tolist()
    assert found.num_up_to(bounds).tolist() == np.searchsorted(ordered, bounds, side="right").tolist()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 2, 1000, 200_001])
def test_percentiles_are_numpys(threads, size):
    values = np.random.default_rng(size).standard_normal(size)
    wanted = [0, 0.1, 1, 5, 33.3, 50, 90, 99.9, 100]
    found = OrderStatistics(values, threads=threads)
    np.testing.assert_allclose(found.percentiles(wanted), np.percentile(values, wanted), rtol=1e-15)
    first = size // 3
    expected = np.percentile(np.sort(values)[first:], wanted)
    np.testing.assert_allclose(found.percentiles(wanted, first), expected, rtol=1e-15)


def test_the_values_stay_as_they_are_and_are_spread_where_the_caller_wants():
    values, into = np.array([2.0, np.nan, 1.0]), np.empty(3)
    assert OrderStatistics(values, into).at([0, 1]) == [1, 2]
    np.testing.assert_array_equal(values, [2, np.nan, 1])
    assert into[:2].tolist() == [1, 2]


def test_no_value():
    found = OrderStatistics(np.array([np.nan]), threads=2)
    assert (found.num, found.num_below([0.0]).tolist(), found.num_up_to(np.inf)) == (0, [0], 0)


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e-310, 1e200, 1e307])
@pytest.mark.parametrize("threads", [1, 3])
def test_mean_and_standard_deviation(scale, threads):
    values = np.random.default_rng(0).uniform(-1, 3, 30_000) * scale
    values[::7] = np.nan
    numbers = values[~np.isnan(values)]
    units = [float(number) for number in numbers / scale]
    mean = fsum(units) / len(units)
    std = np.sqrt(fsum((unit - mean) ** 2 for unit in units) / len(units))
    found = mean_and_std(values, len(numbers), float(np.abs(numbers).max()), threads=threads)
    np.testing.assert_allclose(np.array(found) / scale, [mean, std], rtol=1e-11)
    assert found == mean_and_std(values, len(numbers), float(np.abs(numbers).max()))


def test_zeros_have_no_spread():
    assert mean_and_std(np.array([0.0, np.nan, 0.0]), 2, 0.0) == (0, 0)


def test_a_spread_that_naive_sums_lose():
    values = np.random.default_rng(0).normal(1e8, 1e-3, 100_000)
    exact = values.astype(np.longdouble).std()
    found = mean_and_std(values, len(values), float(values.max()))[1]
    assert abs(found / float(exact) - 1) < 1e-9
    assert not abs((values**2).mean() - values.mean() ** 2) < 1e-3

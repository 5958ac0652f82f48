"""Order statistics from sorted runs, against numpy's of one."""

from __future__ import annotations

from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.kernels.sorted_runs import SortedRuns, mean_and_std

_NUMBERS = st.floats(allow_infinity=False) | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(_NUMBERS, max_size=8), min_size=1, max_size=5))
def test_any_runs(runs):
    values = np.array([value for run in runs for value in run], np.float64)
    ordered = np.sort(values[~np.isnan(values)])
    found = SortedRuns([np.sort(np.array(run, np.float64)) for run in runs])
    assert found.num == len(ordered)
    if len(ordered):
        assert found.at(range(len(ordered))) == ordered.tolist()
    bounds = [*ordered.tolist(), -1.0, 0.0, np.inf]
    assert found.num_below(bounds).tolist() == np.searchsorted(ordered, bounds, side="left").tolist()
    assert found.num_up_to(bounds).tolist() == np.searchsorted(ordered, bounds, side="right").tolist()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 2, 1000, 200_001])
def test_percentiles_are_numpys(threads, size):
    values = np.random.default_rng(size).standard_normal(size)
    wanted = [0, 0.1, 1, 5, 33.3, 50, 90, 99.9, 100]
    found = SortedRuns.of(values, threads=threads)
    np.testing.assert_allclose(found.percentiles(wanted), np.percentile(values, wanted), rtol=1e-15)
    first = size // 3
    expected = np.percentile(np.sort(values)[first:], wanted)
    np.testing.assert_allclose(found.percentiles(wanted, first), expected, rtol=1e-15)


def test_the_values_stay_as_they_are_and_are_sorted_where_the_caller_wants():
    values, into = np.array([2.0, np.nan, 1.0]), np.empty(3)
    assert SortedRuns.of(values, into).at([0, 1]) == [1, 2]
    np.testing.assert_array_equal(values, [2, np.nan, 1])
    np.testing.assert_array_equal(into, [1, 2, np.nan])


def test_no_value():
    found = SortedRuns.of(np.array([np.nan]), threads=2)
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

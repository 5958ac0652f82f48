"""The arithmetic below the initializers, against the standard library's."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from embsnap.kernels.distributions import NORMAL_CDF_2, logarithm, normal_quantile, unit

TAILS = [10.0**-power for power in range(1, 17)]


@pytest.mark.parametrize("x", [*TAILS, 0.5, 1.0, math.sqrt(2), 1.5, 2.0, 1e300, *np.linspace(0.01, 3, 100)])
def test_logarithm(x):
    assert logarithm(float(x)) == pytest.approx(math.log(x), rel=4e-16, abs=1e-300)


@pytest.mark.parametrize("p", [*TAILS, *(1 - p for p in TAILS[:-1]), *np.linspace(0.01, 0.99, 99)])
def test_normal_quantile(p):
    assert normal_quantile(float(p)) == pytest.approx(NormalDist().inv_cdf(float(p)), rel=1e-14, abs=1e-15)


def test_the_far_tail_inverts_the_distribution_function():
    for p in (1e-20, 1e-100, 1e-300):
        assert math.erfc(-normal_quantile(p) / math.sqrt(2)) / 2 == pytest.approx(p, rel=1e-10)


def test_units_lie_inside_the_open_interval_and_are_symmetric():
    smallest, largest = unit(np.uint64(0)), unit(np.uint64(2**64 - 1))
    assert 0 < smallest < 1e-15
    assert largest == 1 - smallest
    assert unit(np.uint64(2**63)) == pytest.approx(0.5, abs=1e-15)


def test_the_bounds_of_the_truncated_normal():
    assert NormalDist().cdf(2) == NORMAL_CDF_2

"""What changed between the vectors of two models."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.ops.pool.figures import ChangeFigures


def test_vectors_that_are_not_finite_are_counted_and_not_compared() -> None:
    a_BD = np.array([[3, 4], [1, 0], [1, 1], [0, np.nan], [1, 2]], np.float32)
    b_BD = np.array([[3, 4], [np.inf, 0], [np.nan, 1], [0, np.nan], [9, 9]], np.float32)
    figures = ChangeFigures()
    figures.add(np.array([True, True, True, True, False]), a_BD, b_BD)
    figures.add(np.array([True]), a_BD[:1], 2 * a_BD[:1])
    found = figures.result()
    assert (found.num_bags, found.num_carried, found.num_identical, found.num_non_finite) == (6, 5, 2, 3)
    assert (found.median_cosine, found.max_relative_l2) == pytest.approx((1.0, 1.0))

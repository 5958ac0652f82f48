"""Rows that a map names, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.kernels.row_marks import count_in_place, missing_rows, rows_among


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("num_rows", [0, 1, 7, 200_000])
def test_as_numpy_finds_them(num_rows, threads):
    rng = np.random.default_rng(num_rows)
    row_V = rng.permutation(np.where(rng.random(num_rows) < 0.2, -1, np.arange(num_rows)))
    row_V[: num_rows // 2] = np.arange(num_rows // 2)
    assert count_in_place(row_V, threads=threads) == (row_V == np.arange(num_rows)).sum()
    missing = missing_rows(row_V, num_rows + 3, threads=threads)
    assert missing.tolist() == sorted(set(range(num_rows + 3)) - set(row_V.tolist()))
    is_wanted_V = rng.random(num_rows) < 0.1
    rows_N = rng.permutation(num_rows)
    expected = np.flatnonzero(is_wanted_V[rows_N])
    np.testing.assert_array_equal(rows_among(rows_N, is_wanted_V, threads=threads), expected)

"""Rows compared byte by byte."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.kernels.row_bytes import differing_rows


def test_bits_tell_zeros_apart():
    a_N1, b_N1 = np.array([[0.0], [1.0]], np.float32), np.array([[-0.0], [1.0]], np.float32)
    assert differing_rows(a_N1.view(np.uint8), b_N1.view(np.uint8)).tolist() == [True, False]


def test_rows_of_other_lengths():
    with pytest.raises(ValueError, match="bytes"):
        differing_rows(np.ones((2, 2), np.uint8), np.ones((2, 3), np.uint8))

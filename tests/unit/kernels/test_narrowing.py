"""float32 to 16 bits: the same as numpy and ml_dtypes, bit for bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from embsnap.kernels.narrowing import narrow

DTYPES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_rounds_as_numpy_does(dtype: np.dtype) -> None:
    rng = np.random.default_rng(0)
    ties = (np.arange(-2000, 2000) + 0.5).astype(np.float32)
    small = rng.integers(0, 0x38800000, 3000, dtype=np.uint32).view(np.float32)
    rows = np.concatenate([ties, small, -small, rng.normal(size=4001).astype(np.float32), [0.0, -0.0, 65504]])
    rows = rows.astype(np.float32)[None]
    out = np.empty(rows.shape, dtype)
    found = narrow(rows, out)
    expected = rows.astype(dtype)
    assert out.tobytes() == expected.tobytes()
    errors = expected.astype(np.float32) - rows
    assert found is not None
    assert found[0] == np.abs(errors).max()
    assert found[1] == pytest.approx(np.square(errors.astype(np.float64)).sum(), rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38])
def test_what_does_not_fit_is_told(dtype: np.dtype, value: float) -> None:
    rows = np.full((3, 7), 1.0, np.float32)
    rows[1, 2] = value
    assert narrow(rows, np.empty(rows.shape, dtype)) is None


def test_nothing() -> None:
    assert narrow(np.empty((0, 4), np.float32), np.empty((0, 4), np.float16)) == (0.0, 0.0)

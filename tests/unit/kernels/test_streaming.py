"""Bytes that are copied past the caches arrive, at any address and of any length, and nothing beside them changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embsnap.kernels.streaming import copy_past_caches

BYTES = np.random.default_rng(0).integers(0, 256, 4096, np.uint8)


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 127, 128, 1000, 3000])
@pytest.mark.parametrize("start", [0, 1, 63])
def test_any_address_and_length(start: int, length: int) -> None:
    for offset in range(0, 130, 13):
        out = np.zeros(4096, np.uint8)
        copy_past_caches(BYTES[start : start + length], out[offset : offset + length])
        assert np.array_equal(out[offset : offset + length], BYTES[start : start + length])
        assert not out[:offset].any()
        assert not out[offset + length :].any()


def test_several_threads_at_the_first_call() -> None:
    src = np.random.default_rng(1).integers(0, 256, 8 << 20, np.uint8)
    out = np.zeros_like(src)
    with ThreadPoolExecutor(8) as pool:
        spans = [slice(start, start + 100_001) for start in range(0, len(src), 100_001)]
        list(pool.map(lambda span: copy_past_caches(src[span], out[span]), spans))
    assert np.array_equal(out, src)


def test_what_does_not_fit_is_refused() -> None:
    out = np.zeros(64, np.uint8)
    with pytest.raises(ValueError, match="64 bytes"):
        copy_past_caches(BYTES[:64], out[:63])
    with pytest.raises(ValueError, match="do not fit"):
        copy_past_caches(BYTES[:128:2], out)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        copy_past_caches(BYTES[:64], out)
    assert not out.any()

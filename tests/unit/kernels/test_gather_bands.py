"""Copying rows out of bands that lie anywhere in memory."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.kernels.gather import NO_ROWS, UNKNOWN, gather_bands

RNG = np.random.default_rng(0)
STARTS = np.array([0, 40, 41, 90], np.int64)
PARTS = [RNG.integers(0, 256, (rows, 12), np.uint8) for rows in (40, 1, 49, 30)]
ROWS = np.concatenate(PARTS)


def addresses() -> np.ndarray:
    return np.array([part.ctypes.data for part in PARTS], np.int64)


@pytest.mark.parametrize("num_rows", [0, 1, 15, 16, 17, 500])
def test_rows_of_all_bands_land_in_order(num_rows: int) -> None:
    rows = np.random.default_rng(num_rows).integers(-1, len(ROWS), num_rows)
    dst, counts = np.full((num_rows, 20), 7, np.uint8), np.zeros(4, np.int64)
    assert gather_bands(rows, 0, STARTS, addresses(), 12, dst, 4, counts) == num_rows
    expected = np.full((num_rows, 20), 7, np.uint8)
    expected[rows >= 0, 4:16] = ROWS[rows[rows >= 0]]
    np.testing.assert_array_equal(dst, expected)
    bands = np.searchsorted(STARTS, rows[rows >= 0], side="right") - 1
    np.testing.assert_array_equal(counts, np.bincount(bands, minlength=4))


def test_it_stops_at_an_unknown_band_and_goes_on_there() -> None:
    rows = np.tile(np.array([3, -1, 45, 89, 40, 119]), 9)
    known, dst, counts = np.full(4, UNKNOWN, np.int64), np.zeros((len(rows), 12), np.uint8), np.zeros(4, np.int64)
    stops, done = [], 0
    while (done := gather_bands(rows, done, STARTS, known, 12, dst, 0, counts)) < len(rows):
        stops.append(done)
        band = int(np.searchsorted(STARTS, rows[done], side="right")) - 1
        known[band] = PARTS[band].ctypes.data
    assert stops == [0, 2, 4, 5]
    np.testing.assert_array_equal(dst[rows >= 0], ROWS[rows[rows >= 0]])
    assert counts.tolist() == [9, 9, 18, 9]


def test_bands_without_rows_are_passed_over() -> None:
    known = addresses()
    known[2] = NO_ROWS
    dst, counts = np.zeros((3, 12), np.uint8), np.zeros(4, np.int64)
    assert gather_bands(np.array([50, 0, 100]), 0, STARTS, known, 12, dst, 0, counts) == 3
    np.testing.assert_array_equal(dst, [np.zeros(12), ROWS[0], ROWS[100]])
    assert counts.tolist() == [1, 0, 0, 1]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 rows of 12 bytes at 9 do not fit"):
        gather_bands(np.array([0, 1]), 0, STARTS, addresses(), 12, np.zeros((2, 20), np.uint8), 9, np.zeros(4, int))
    with pytest.raises(ValueError, match="1 rows of 12 bytes"):
        gather_bands(np.array([0]), 0, STARTS, addresses(), 12, np.zeros((2, 20), np.uint8), 0, np.zeros(4, int))

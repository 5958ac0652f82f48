"""Copying rows by index."""

from __future__ import annotations

import mmap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embsnap.kernels.gather import gather_rows, split_by_band


def _rows(num_rows: int, row_bytes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_rows, row_bytes), np.uint8)


@pytest.mark.parametrize("row_bytes", [1, 2, 4, 7, 64, 256, 1000, 16_384])
def test_rows_land_at_their_positions(row_bytes):
    src, dst = _rows(50, row_bytes), np.zeros((40, row_bytes), np.uint8)
    rows, positions = np.random.default_rng(1).integers(0, 50, 40), np.random.default_rng(2).permutation(40)
    gather_rows(src, rows, positions, dst)
    assert (dst[positions] == src[rows]).all()


def test_rows_that_were_not_asked_for_are_left_alone():
    dst = np.full((5, 4), 9, np.uint8)
    gather_rows(_rows(3, 4), np.array([2]), np.array([1]), dst)
    assert (dst[[0, 2, 3, 4]] == 9).all()


def test_the_last_of_several_rows_for_one_position_stays():
    src, dst = _rows(3, 8), np.zeros((1, 8), np.uint8)
    gather_rows(src, np.array([0, 2, 1]), np.zeros(3, np.int64), dst)
    assert (dst[0] == src[1]).all()


def test_column_shards_are_written_side_by_side():
    left, right, dst = _rows(6, 12), _rows(6, 20)[::-1].copy(), np.zeros((4, 32), np.uint8)
    rows, positions = np.array([5, 0, 3, 3]), np.arange(4)
    gather_rows(left, rows, positions, dst, 0)
    gather_rows(right, rows, positions, dst, 12)
    assert (dst == np.hstack([left, right])[rows]).all()


def test_rows_may_be_strided_unaligned_and_read_only(tmp_path):
    content = _rows(1, 3 + 20 * 16)[0]
    (tmp_path / "object").write_bytes(content.tobytes())
    with (tmp_path / "object").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        src = np.frombuffer(mapped, np.uint8)[3:].reshape(20, 16)[::2, 4:12]
        dst = np.zeros((10, 24), np.uint8)[:, 8:20]
        gather_rows(src, np.arange(10)[::-1], np.arange(10), dst, 2)
        assert (dst[:, 2:10] == src[::-1]).all()
        assert not dst[:, :2].any()
        assert not dst[:, 10:].any()
        assert not dst.base[:, :8].any()
        assert not dst.base[:, 20:].any()
        del src


def test_nothing_to_copy():
    dst = np.ones((2, 4), np.uint8)
    gather_rows(np.zeros((0, 4), np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64), dst)
    assert (dst == 1).all()


@pytest.mark.parametrize(("row", "position"), [(-1, 0), (3, 0), (0, -1), (0, 2), (2**62, 0)])
def test_an_index_out_of_range_is_refused_and_touches_nothing(row, position):
    dst = np.zeros((2, 4), np.uint8)
    with pytest.raises(IndexError, match=f"index 1 .* source row {row} of 3, position {position} of 2"):
        gather_rows(_rows(3, 4), np.array([0, row]), np.array([0, position]), dst)
    assert not dst[1].any()


def test_what_does_not_fit_is_refused():
    src, dst, one = _rows(3, 4), np.zeros((2, 4), np.uint8), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="1 source rows for 2 positions"):
        gather_rows(src, one, np.zeros(2, np.int64), dst)
    with pytest.raises(ValueError, match="4 bytes at offset 1 do not fit into rows of 4 bytes"):
        gather_rows(src, one, one, dst, 1)
    with pytest.raises(ValueError, match="side by side"):
        gather_rows(src[:, ::2], one, one, dst)
    with pytest.raises(ValueError, match="side by side"):
        gather_rows(src.view(np.int8), one, one, dst)
    read_only = np.zeros((2, 4), np.uint8)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        gather_rows(src, one, one, read_only)
    assert not read_only.any()


def test_several_threads_fill_one_destination():
    src, dst = _rows(5_000, 64), np.zeros((4_000, 64), np.uint8)
    rows = np.random.default_rng(1).integers(0, 5_000, 4_000)
    parts = np.array_split(np.random.default_rng(2).permutation(4_000), 8)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda part: gather_rows(src, rows[part], part, dst), parts))
    assert (dst == src[rows]).all()


def test_requests_are_grouped_by_band_in_order():
    rows = np.array([7, -1, 0, 3, 9, 3, -5, 8])
    positions, local_rows, bounds = split_by_band(rows, np.array([0, 4, 8]))
    assert positions.tolist() == [2, 3, 5, 0, 4, 7]
    assert local_rows.tolist() == [0, 3, 3, 3, 1, 0]
    assert bounds.tolist() == [0, 3, 4, 6]


def test_bands_without_rows_stay_empty():
    positions, local_rows, bounds = split_by_band(np.array([5, 2]), np.array([0, 2, 2, 2, 6, 9]))
    assert positions.tolist() == [0, 1]
    assert local_rows.tolist() == [3, 0]
    assert bounds.tolist() == [0, 0, 0, 0, 2, 2, 2]
    for array in split_by_band(np.zeros(0, np.int64), np.array([0])):
        assert not array.any()


@pytest.mark.parametrize("starts", [[], [1, 2], [0, 5, 3]])
def test_bands_that_are_no_bands_are_refused(starts):
    with pytest.raises(ValueError, match="begin at row 0 and ascend"):
        split_by_band(np.array([1]), np.array(starts, np.int64))

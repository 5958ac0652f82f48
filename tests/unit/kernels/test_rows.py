"""Rows out of range, rows given twice, rows left out."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.kernels import rows
from embsnap.kernels.rows import HeldRows, RowCheck, check_rows
from embsnap.ops.vocab_gaps import holes_of


@pytest.fixture(params=["dense", "sparse"])
def _way(request, monkeypatch):
    """Both ways of checking: with a bitmap, and by sorting."""
    if request.param == "sparse":
        monkeypatch.setattr(rows, "_BITMAP_ROWS", 0)
        monkeypatch.setattr(rows, "_BITMAP_ROWS_PER_ENTITY", 0)


@pytest.mark.usefixtures("_way")
def test_everything_at_once():
    found = check_rows(np.array([3, 0, 3, 9, -1, 5, 0, 3]), 8)
    assert found == RowCheck(
        max_row=9,
        num_out_of_range=2,
        out_of_range_examples=(3, 4),
        num_duplicates=3,
        duplicate_examples=(2, 6, 7),
        num_gap_rows=3,
        gap_examples=((1, 3), (4, 5)),
    )


@pytest.mark.usefixtures("_way")
def test_a_clean_vocabulary_has_nothing_to_report():
    clean = RowCheck(99, 0, (), 0, (), 0, ())
    assert check_rows(np.random.default_rng(0).permutation(100), 100) == clean
    assert check_rows(np.random.default_rng(0).permutation(100), 200) == clean
    assert check_rows(np.random.default_rng(0).permutation(100), None) == clean


@pytest.mark.usefixtures("_way")
def test_examples_are_the_first_five():
    found = check_rows(np.array([100, 8] * 20 + [0, 2, 4, 6, 10, 12]), 50)
    assert found.out_of_range_examples == (0, 2, 4, 6, 8)
    assert found.duplicate_examples == (3, 5, 7, 9, 11)
    assert found.gap_examples == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))
    assert (found.num_out_of_range, found.num_duplicates, found.num_gap_rows) == (20, 19, 6)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("num_rows", [0, 5, None])
def test_no_rows_at_all(num_rows):
    assert check_rows(np.zeros(0, np.int64), num_rows) == RowCheck(-1, 0, (), 0, (), 0, ())


def test_rows_far_beyond_int32_take_no_bitmap_of_that_size():
    found = check_rows(np.array([2**40, 1, 2**40, 2**61]), None)
    assert found.max_row == 2**61
    assert found.duplicate_examples == (2,)
    assert found.num_gap_rows == 2**61 - 2
    assert found.gap_examples == ((0, 1), (2, 2**40), (2**40 + 1, 2**61))


def test_the_input_may_be_strided_and_read_only():
    given = np.repeat(np.arange(10), 2)[::2]
    given.flags.writeable = False
    assert check_rows(given, 10) == RowCheck(9, 0, (), 0, (), 0, ())


@pytest.mark.parametrize("taken", [[], [0], [63], [64], [5, 3, 200, 7], list(range(2, 190, 3)), list(range(1, 130))])
def test_held_rows_say_what_the_rows_say(taken) -> None:
    rows_N = np.array(taken, np.int64)
    held = HeldRows.of(rows_N, 201)
    assert len(held) == len(taken)
    assert held.check() == check_rows(rows_N, 201)
    assert held.rows().tolist() == sorted(taken)
    assert held.rows(3, 180).tolist() == [row for row in sorted(taken) if 3 <= row < 180]
    np.testing.assert_array_equal(held.holes(), holes_of(rows_N, 201).reshape(-1, 2))

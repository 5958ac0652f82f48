from __future__ import annotations

import time

import pytest

from embsnap.model.geometry import Box, CoverDefect, bounding_shape, cover_defect


def rows(start, end, columns=4):
    return Box((start, 0), (end - start, columns))


@pytest.mark.parametrize(
    ("shape", "boxes"),
    [
        ((10, 4), [rows(0, 10)]),
        ((10, 4), [rows(5, 10), rows(0, 5)]),
        ((10, 4), [Box((0, 2), (10, 2)), Box((0, 0), (10, 2))]),
        ((10, 4), [rows(0, 10), Box((10, 0), (0, 4)), Box((3, 4), (2, 0))]),
        ((0, 4), []),
        ((0, 4), [Box((0, 0), (0, 4))]),
        ((), [Box((), ())]),
        ((10**30, 2), [Box((0, 0), (10**30 - 1, 2)), Box((10**30 - 1, 0), (1, 2))]),
    ],
)
def test_exact_covers(shape, boxes):
    assert cover_defect(shape, boxes) is None


@pytest.mark.parametrize(
    ("shape", "boxes", "defect"),
    [
        ((10, 4), [], CoverDefect("gap", "no piece holds rows [0, 10) of the shape [10, 4]")),
        ((), [], CoverDefect("gap", "no piece holds the one element of the shape []")),
        ((9, 4), [rows(0, 3), rows(6, 9)], CoverDefect("gap", "no piece holds rows [3, 6) of the shape [9, 4]")),
        ((9, 4), [rows(0, 3)], CoverDefect("gap", "no piece holds rows [3, 9) of the shape [9, 4]")),
        (
            (9, 4),
            [rows(0, 9, 2)],
            CoverDefect("gap", "no piece holds rows [0, 9) from column 2 on of the shape [9, 4]"),
        ),
        (
            (9, 4),
            [rows(0, 6), rows(5, 9)],
            CoverDefect("overlap", "element [5, 0] is in 2 pieces: [0, 6) × [0, 4), [5, 9) × [0, 4)"),
        ),
        (
            (9, 4),
            [rows(0, 10)],
            CoverDefect("out-of-bounds", "the piece [0, 10) × [0, 4) is not inside of the shape [9, 4]"),
        ),
        (
            (9, 4),
            [Box((0,), (9,))],
            CoverDefect("out-of-bounds", "the piece [0, 9) is not inside of the shape [9, 4]"),
        ),
        (
            (9, 4),
            [Box((-1, 0), (10, 4))],
            CoverDefect("out-of-bounds", "the piece [-1, 9) × [0, 4) is not inside of the shape [9, 4]"),
        ),
        ((), [Box((), ()), Box((), ())], CoverDefect("overlap", "element [] is in 2 pieces: scalar, scalar")),
    ],
)
def test_defects_name_the_first_place(shape, boxes, defect):
    assert cover_defect(shape, boxes) == defect


def test_an_equal_volume_does_not_hide_a_gap_behind_an_overlap():
    assert cover_defect((4, 1), [Box((0, 0), (2, 1)), Box((1, 0), (2, 1))]).kind == "overlap"


def test_50_000_boxes_take_no_time():
    boxes = [Box((row, column), (1, 1)) for row in range(500) for column in range(100)]
    started = time.monotonic()
    assert cover_defect((500, 100), boxes) is None
    assert time.monotonic() - started < 3


def test_cuts_in_too_many_dimensions_are_refused():
    boxes = [Box((half * 1,) * 24, (1,) * 24) for half in (0, 1)]
    assert cover_defect((2,) * 24, boxes).kind == "too-complex"


def test_bounding_shape():
    assert bounding_shape([rows(3, 7), rows(0, 2)]) == (7, 4)
    assert bounding_shape([]) is None
    assert bounding_shape([rows(0, 2), Box((0,), (1,))]) is None

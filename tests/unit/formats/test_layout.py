"""Where rows go: every row once, within the limits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.formats.torchsnapshot import layout
from embsnap.formats.torchsnapshot.layout import RowShape, place

_ARRAYS = st.lists(st.builds(RowShape, st.integers(0, 50), st.integers(0, 100)), max_size=6)


@given(arrays=_ARRAYS, piece_bytes=st.integers(1, 300), object_bytes=st.integers(1, 600))
def test_every_row_is_placed_once_and_within_the_limits(
    arrays: Sequence[RowShape], piece_bytes: int, object_bytes: int
) -> None:
    objects = place(arrays, piece_bytes=piece_bytes, object_bytes=object_bytes)
    rows: list[list[int]] = [[] for _ in arrays]
    for placed in objects:
        end = 0
        for piece in placed.pieces:
            assert end <= piece.start < end + 64
            assert piece.start % 64 == 0
            end = piece.end
            num_rows = piece.end_row - piece.start_row
            assert piece.end - piece.start == num_rows * arrays[piece.array].row_bytes
            assert piece.end - piece.start <= piece_bytes or num_rows == 1
            rows[piece.array] += range(piece.start_row, piece.end_row)
        assert placed.num_bytes == end
        assert end <= object_bytes or len(placed.pieces) == 1
    assert rows == [list(range(array.num_rows)) for array in arrays]
    assert {piece.array for placed in objects for piece in placed.pieces} == set(range(len(arrays)))


@pytest.mark.parametrize(
    ("num_rows", "pieces"),
    [(0, [(0, 0)]), (1, [(0, 1)]), (10, [(0, 10)]), (11, [(0, 6), (6, 11)]), (25, [(0, 9), (9, 18), (18, 25)])],
)
def test_pieces_are_few_and_even(num_rows: int, pieces: list[tuple[int, int]]) -> None:
    (placed,) = place([RowShape(num_rows, 10)], piece_bytes=100, object_bytes=1000)
    assert [(piece.start_row, piece.end_row) for piece in placed.pieces] == pieces


def test_a_row_above_the_limit_is_a_piece_of_its_own() -> None:
    objects = place([RowShape(2, 1000), RowShape(1, 4)], piece_bytes=100, object_bytes=100)
    assert [placed.num_bytes for placed in objects] == [1000, 1000, 4]


def test_nothing_to_place() -> None:
    assert place([]) == ()


def test_the_real_limits() -> None:
    (first, *_, last) = objects = place([RowShape(8_000_000, 256)])
    assert len(objects) == 8
    assert first.num_bytes == last.num_bytes == 256_000_000 <= layout.OBJECT_BYTES == layout.PIECE_BYTES

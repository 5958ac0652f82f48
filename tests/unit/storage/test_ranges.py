"""Which requests are made for byte ranges, and where their bytes go."""

from __future__ import annotations

import random
from functools import partial
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.storage.base import RangeRead
from embsnap.storage.ranges import Part, PartFiller, plan_parts
from embsnap.storage.retries import TransientError

MIB = 1 << 20


def _requests(places: list[tuple[int, int]]) -> list[RangeRead]:
    return [RangeRead(start, memoryview(bytearray(size))) for start, size in places]


def _plan(*places: tuple[int, int], part_bytes: int = 8 * MIB) -> list[tuple[int, int]]:
    return [(part.start, part.end) for part in plan_parts(_requests(list(places)), part_bytes)]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], []),
        ([(5, 0)], []),
        ([(10, 10), (20, 10)], [(10, 30)]),
        ([(29, 10), (10, 10)], [(10, 39)]),  # a gap of 9, and 10 on either side
        ([(10, 10), (30, 10)], [(10, 20), (30, 40)]),  # a gap of 10
        ([(10, 10), (25, 3)], [(10, 20), (25, 28)]),  # a gap of 5, and 3 on the right
        ([(10, 3), (18, 10)], [(10, 13), (18, 28)]),  # a gap of 5, and 3 on the left
        ([(0, 6), (8, 6), (20, 8)], [(0, 28)]),  # a gap of 6, and 12 on the left
        ([(10, 10), (12, 3), (15, 10)], [(10, 25)]),
        ([(0, 4 * MIB), (5 * MIB, 4 * MIB)], [(0, 4 * MIB), (5 * MIB, 9 * MIB)]),  # no gap is longer than 1 MiB
        ([(3, 20 * MIB)], [(3, 8 * MIB + 3), (8 * MIB + 3, 16 * MIB + 3), (16 * MIB + 3, 20 * MIB + 3)]),
    ],
)
def test_near_ranges_are_merged_and_long_ones_split(
    places: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert _plan(*places) == expected


def test_a_part_begins_and_ends_with_a_piece() -> None:
    assert _plan((0, 60), (100, 60), (200, 60), part_bytes=100) == [(0, 60), (100, 160), (200, 260)]


_PLACES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=12)


@pytest.mark.parametrize("how", ["in chunks", "in place"])
@given(places=_PLACES, part_bytes=st.integers(1, 90), cuts=st.lists(st.integers(1, 40), min_size=1))
def test_every_byte_arrives_once_and_less_than_twice_as_many(
    how: str, places: list[tuple[int, int]], part_bytes: int, cuts: list[int]
) -> None:
    data = bytes(index % 251 + 1 for index in range(400))
    arrived = [bytearray(400) for _ in places]
    requests = [
        RangeRead(start, memoryview(bytearray(size)), partial(_note, copy))
        for (start, size), copy in zip(places, arrived, strict=True)
    ]
    parts = plan_parts(requests, part_bytes)
    for part in parts:
        assert 0 < part.end - part.start <= part_bytes
        (_fill if how == "in chunks" else _receive)(part, data, cuts)
    assert [bytes(request.buffer) for request in requests] == [data[start : start + size] for start, size in places]
    assert all(
        copy[start : start + size] == data[start : start + size]
        for (start, size), copy in zip(places, arrived, strict=True)
    )
    assert all(first.end <= second.start for first, second in pairwise(parts))
    asked = len({byte for start, size in places for byte in range(start, start + size)})
    assert sum(part.end - part.start for part in parts) < 2 * asked or not asked


def _note(copy: bytearray, start: int, data: memoryview) -> None:
    assert data
    assert not any(copy[start : start + len(data)]), "a byte arrives once"
    copy[start : start + len(data)] = data


def _fill(part: Part, data: bytes, cuts: list[int]) -> None:
    """Feed a part in chunks of the given sizes, over and over."""
    filler = PartFiller(part)
    while filler.position < part.end:
        size = cuts[filler.position % len(cuts)]
        filler.feed(data[filler.position : min(filler.position + size, part.end)])
    assert filler.position == part.end


def _receive(part: Part, data: bytes, cuts: list[int]) -> None:
    """Put what arrives where the filler wants it, some of what there is room for at a time."""
    filler = PartFiller(part)
    with patch.multiple("embsnap.storage.ranges", _LEAST_ROOM_BYTES=4, _MOST_ROOM_BYTES=25):
        while room := filler.room():
            assert len(room) <= 25
            size = min(len(room), cuts[filler.position % len(cuts)])
            room[:size] = data[filler.position : filler.position + size]
            filler.filled(room, size)
    assert filler.position == part.end


def test_a_long_buffer_is_filled_in_place_and_short_ones_are_not() -> None:
    data = random.Random(0).randbytes(300_000)
    requests = _requests([(10, 100_000), (100_020, 100), (100_130, 90), (100_200, 150_000)])
    (part,) = plan_parts(requests)
    filler, rooms = PartFiller(part), []
    while room := filler.room():
        rooms.append(
            (filler.position, next((i for i, each in enumerate(requests) if room.obj is each.buffer.obj), None))
        )
        size = min(len(room), 40_000)
        room[:size] = data[filler.position : filler.position + size]
        filler.filled(room, size)
    assert [bytes(request.buffer) for request in requests] == [
        data[request.start : request.start + len(request.buffer)] for request in requests
    ]
    assert rooms[:2] == [(10, 0), (40_010, 0)]
    assert {index for _, index in rooms} == {0, 3, None}


def test_more_bytes_than_asked_for_are_an_error() -> None:
    (part,) = plan_parts(_requests([(5, 10)]))
    filler = PartFiller(part)
    filler.feed(bytes(8))
    with pytest.raises(TransientError, match="more bytes arrived than the 10 of the range"):
        filler.feed(bytes(3))

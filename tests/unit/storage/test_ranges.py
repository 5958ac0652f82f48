"""Which requests are made for byte ranges, and where their bytes go."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.storage.base import RangeRead
from embsnap.storage.ranges import Part, PartFiller, plan_parts

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


@given(places=_PLACES, part_bytes=st.integers(1, 90), cuts=st.lists(st.integers(1, 40), min_size=1))
def test_every_byte_arrives_once_and_less_than_twice_as_many(
    places: list[tuple[int, int]], part_bytes: int, cuts: list[int]
) -> None:
    data = bytes(index % 251 for index in range(400))
    requests = _requests(places)
    parts = plan_parts(requests, part_bytes)
    for part in parts:
        assert 0 < part.end - part.start <= part_bytes
        _fill(part, data, cuts)
    assert [bytes(request.buffer) for request in requests] == [data[start : start + size] for start, size in places]
    assert all(first.end <= second.start for first, second in pairwise(parts))
    asked = len({byte for start, size in places for byte in range(start, start + size)})
    assert sum(part.end - part.start for part in parts) < 2 * asked or not asked


def _fill(part: Part, data: bytes, cuts: list[int]) -> None:
    """Feed a part in chunks of the given sizes, over and over."""
    filler = PartFiller(part)
    while filler.position < part.end:
        size = cuts[filler.position % len(cuts)]
        filler.feed(data[filler.position : min(filler.position + size, part.end)])
    assert filler.position == part.end

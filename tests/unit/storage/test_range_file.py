"""A file over byte ranges reads what is asked for, and ahead only where small reads follow each other."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.storage.range_file import RangeFile

KIB = 1 << 10
DATA = bytes(index * 7 % 256 for index in range(700 * KIB))


class _Reads:
    """The object, and the ranges of it that were read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, start: int, buffer: memoryview) -> None:
        self.ranges.append((start, start + len(buffer)))
        assert 0 <= start <= start + len(buffer) <= len(self.data)
        buffer[:] = self.data[start : start + len(buffer)]


_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 300)),
        st.tuples(st.sampled_from(["set", "cur", "end"]), st.integers(-250, 250)),
    ),
    max_size=20,
)


@given(size=st.integers(0, 200), actions=_ACTIONS)
def test_it_behaves_like_a_file_in_memory(size: int, actions: list[tuple[str, int]]) -> None:
    expected = io.BytesIO(DATA[:size])
    file = RangeFile(size, _Reads(DATA[:size]))
    for action, number in actions:
        if action == "read":
            assert file.read(number) == expected.read(number)
        else:
            whence = {"set": io.SEEK_SET, "cur": io.SEEK_CUR, "end": io.SEEK_END}[action]
            base = {"set": 0, "cur": file.tell(), "end": size}[action]
            if base + number < 0:
                with pytest.raises(ValueError, match="before the file"):
                    file.seek(number, whence)
            else:
                expected.seek(base + number)
                assert file.seek(number, whence) == base + number
        assert file.tell() == expected.tell()


def test_scattered_reads_cost_their_bytes() -> None:
    reads = _Reads(DATA)
    with RangeFile(len(DATA), reads) as file:
        for start in (5000, 100, 300_000):
            file.seek(start)
            file.read(10)
    assert reads.ranges == [(5000, 5010), (100, 110), (300_000, 300_010)]


def test_reading_line_by_line_reads_ahead_more_and_more() -> None:
    reads = _Reads(DATA)
    file = RangeFile(len(DATA), reads)
    assert b"".join(iter(lambda: file.read(100), b"")) == DATA
    assert reads.ranges == [(0, 128 * KIB), (128 * KIB, 384 * KIB), (384 * KIB, 700 * KIB)]


def test_what_follows_a_long_read_is_read_as_asked() -> None:
    reads = _Reads(DATA)
    file = RangeFile(len(DATA), reads)
    file.read(300 * KIB)
    file.read(300 * KIB)
    assert reads.ranges == [(0, 300 * KIB), (300 * KIB, 600 * KIB)]


def test_a_closed_file_is_not_read() -> None:
    file = RangeFile(len(DATA), _Reads(DATA))
    assert file.readable()
    assert file.seekable()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)

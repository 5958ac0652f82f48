"""Blocks are compared as soon as all of their bytes came by, in whatever order and pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.block_checks import BlockChecks
from embsnap.formats.checksums import sums_of

BLOCK = 1 << 16
DATA = np.random.default_rng(0).integers(0, 256, 5 * BLOCK // 2, dtype=np.uint8).tobytes()
SUMS = {"a": sums_of(DATA, BLOCK)}


def checks():
    return BlockChecks(SUMS, "memory://root")


def test_nothing_is_checked_at_first():
    assert checks().unchecked("a", 10, len(DATA)) == [(10, BLOCK), (BLOCK, 2 * BLOCK), (2 * BLOCK, len(DATA))]


def test_a_read_of_all():
    found = checks()
    found.passed("a", 0, DATA)
    assert found.unchecked("a", 0, len(DATA)) == []


def test_a_part_of_a_block_does_not_check_it():
    found = checks()
    found.passed("a", 1, DATA[1 : 2 * BLOCK])
    assert found.unchecked("a", 0, len(DATA)) == [(0, BLOCK), (2 * BLOCK, len(DATA))]
    found.passed("a", 0, DATA[:1])
    assert found.unchecked("a", 0, 2 * BLOCK) == []


@settings(deadline=None)
@given(st.permutations(range(12)), st.lists(st.integers(1, len(DATA) - 1), min_size=11, max_size=11, unique=True))
def test_pieces_in_any_order(order, cuts):
    bounds = [0, *sorted(cuts), len(DATA)]
    found = checks()
    for piece in order:
        start, end = bounds[piece : piece + 2]
        found.passed("a", start, DATA[start:end])
    assert found.unchecked("a", 0, len(DATA)) == []


@settings(deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(0, 7), st.integers(500, 3 * BLOCK))
def test_any_flipped_bit_is_found(place, bit, step):
    damaged = bytearray(DATA)
    damaged[place] ^= 1 << bit
    found = checks()

    def read() -> None:
        for start in range(0, len(damaged), step):
            found.passed("a", start, damaged[start : start + step])

    with pytest.raises(SnapshotError) as caught:
        read()
    block = place // BLOCK * BLOCK
    error = caught.value
    assert error.kind is ErrorKind.CHECKSUM_MISMATCH
    assert f"bytes [{block}, {min(len(DATA), block + BLOCK)})" in str(error)
    assert error.where == "memory://root/a"


def test_a_damaged_block_is_never_counted_as_checked():
    found = checks()
    for _ in range(2):
        with pytest.raises(SnapshotError):
            found.passed("a", 0, bytes(BLOCK))
    assert found.unchecked("a", 0, BLOCK) == [(0, BLOCK)]


def test_objects_without_sums_stay_unchecked():
    found = BlockChecks({"tiny-blocks": sums_of(DATA, 100)}, "memory://root")
    for location in ("unknown", "tiny-blocks"):
        found.passed(location, 0, bytes(len(DATA)))
        assert found.unchecked(location, 5, 9) == [(5, 9)]
        assert not found.knows(location)


def test_more_parts_than_anyone_keeps():
    found = checks()
    for start in range(0, BLOCK, 2):
        found.passed("a", start, DATA[start : start + 1])
    found.passed("a", 0, DATA)
    assert found.unchecked("a", 0, BLOCK) == [(0, BLOCK)]
    assert found.unchecked("a", BLOCK, len(DATA)) == []

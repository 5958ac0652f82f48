"""CRC-32C by blocks and whole, against known values and another implementation."""

from __future__ import annotations

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.formats.checksums import BLOCK_BYTES, RunningSums, sums_of


def _crc(data: bytes) -> int:
    return int.from_bytes(google_crc32c.Checksum(data).digest(), "big")


@pytest.mark.parametrize(
    ("data", "expected"),
    # RFC 3720, appendix B.4
    [(bytes(32), "8a9136aa"), (b"\xff" * 32, "62a8ab43"), (bytes(range(32)), "46dd794e"), (b"123456789", "e3069283")],
)
def test_known_values(data: bytes, expected: str) -> None:
    assert sums_of(data).crc32c == expected


@given(parts=st.lists(st.binary(max_size=50)), block_bytes=st.integers(1, 40))
def test_sums_do_not_depend_on_how_the_bytes_arrive(parts: list[bytes], block_bytes: int) -> None:
    sums = RunningSums(block_bytes)
    for part in parts:
        sums.update(part)
    data = b"".join(parts)
    found = sums.finish()
    assert found == sums_of(data, block_bytes)
    assert found.size == len(data)
    assert found.crc32c == f"{_crc(data):08x}"
    blocks = [data[start : start + block_bytes] for start in range(0, len(data), block_bytes)]
    assert found.blocks == tuple(f"{_crc(block):08x}" for block in blocks)


def test_more_than_one_block_of_the_real_size() -> None:
    data = bytes(range(251)) * 50_000
    found = sums_of(data)
    assert len(found.blocks) == -(-len(data) // BLOCK_BYTES) == 3
    assert found.crc32c == f"{_crc(data):08x}"


def test_other_items_than_bytes() -> None:
    assert sums_of(memoryview(bytearray(16)).cast("d")) == sums_of(bytes(16))

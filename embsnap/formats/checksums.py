"""CRC-32C of an object while it is being written: by blocks and whole, each byte looked at once."""

from __future__ import annotations

from functools import lru_cache

from crc32c import crc32c

from embsnap.formats.sidecar import ObjectSums
from embsnap.storage.base import Buffer

__all__ = ["BLOCK_BYTES", "RunningSums", "combine", "sums_of"]

BLOCK_BYTES = 4 << 20
"""Size of the blocks that a sidecar holds sums of."""
_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed."""


class RunningSums:
    """The sums of the bytes fed so far, in order."""

    def __init__(self, block_bytes: int = BLOCK_BYTES) -> None:
        """Start with no bytes."""
        self._block_bytes = block_bytes
        self._blocks: list[int] = []
        self._size = 0
        self._running = 0

    def update(self, data: Buffer) -> None:
        """Add `data`. The GIL is released for long pieces."""
        with memoryview(data) as view, view.cast("B") as rest:
            done = 0
            while done < len(rest):
                part = rest[done : done + self._block_bytes - self._size % self._block_bytes]
                self._running = crc32c(part, self._running)
                done += len(part)
                self._size += len(part)
                if self._size % self._block_bytes == 0:
                    self._end_block()

    def finish(self) -> ObjectSums:
        """The sums of all bytes; nothing may be added afterwards."""
        last_bytes = self._size % self._block_bytes
        if last_bytes:
            self._end_block()
        whole = 0
        for index, block in enumerate(self._blocks):
            is_last = last_bytes and index == len(self._blocks) - 1
            whole = combine(whole, block, last_bytes if is_last else self._block_bytes)
        return ObjectSums(self._size, f"{whole:08x}", self._block_bytes, tuple(f"{sum_:08x}" for sum_ in self._blocks))

    def _end_block(self) -> None:
        self._blocks.append(self._running)
        self._running = 0


def sums_of(data: Buffer, block_bytes: int = BLOCK_BYTES) -> ObjectSums:
    """The sums of bytes in hand."""
    sums = RunningSums(block_bytes)
    sums.update(data)
    return sums.finish()


def combine(first: int, second: int, num_second_bytes: int) -> int:
    """The CRC-32C of two runs of bytes one after the other, from the CRC of each.

    Appending zero bytes to a message is a linear map of its CRC over GF(2); the map for n bytes is the n-th power of
    the map for one (Mark Adler's `crc32_combine`).
    """
    return _apply(_zeros_map(num_second_bytes), first) ^ second


def _apply(columns: tuple[int, ...], bits: int) -> int:
    result = 0
    for column in columns:
        if bits & 1:
            result ^= column
        bits >>= 1
    return result


def _product(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_apply(left, column) for column in right)


@lru_cache(maxsize=64)
def _zeros_map(num_bytes: int) -> tuple[int, ...]:
    """Columns of the map that appending `num_bytes` zero bytes does to a CRC."""
    one_bit = (_POLYNOMIAL, *(1 << bit for bit in range(31)))
    power = one_bit
    for _ in range(3):
        power = _product(power, power)
    result = tuple(1 << bit for bit in range(32))
    while num_bytes:
        if num_bytes & 1:
            result = _product(power, result)
        power = _product(power, power)
        num_bytes >>= 1
    return result

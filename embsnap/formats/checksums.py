"""CRC-32C of an object while it is being written: by blocks and whole, each byte looked at once."""

from __future__ import annotations

from awscrt.checksums import combine_crc32c, crc32c

from embsnap.formats.sidecar import ObjectSums
from embsnap.storage.base import Buffer

__all__ = ["BLOCK_BYTES", "RunningSums", "sums_of"]

BLOCK_BYTES = 4 << 20
"""Size of the blocks that a sidecar holds sums of."""


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
            whole = combine_crc32c(whole, block, last_bytes if is_last else self._block_bytes)
        return ObjectSums(self._size, f"{whole:08x}", self._block_bytes, tuple(f"{sum_:08x}" for sum_ in self._blocks))

    def _end_block(self) -> None:
        self._blocks.append(self._running)
        self._running = 0


def sums_of(data: Buffer, block_bytes: int = BLOCK_BYTES) -> ObjectSums:
    """The sums of bytes in hand."""
    sums = RunningSums(block_bytes)
    sums.update(data)
    return sums.finish()

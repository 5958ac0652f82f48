"""Checking the sums of a sidecar's blocks while objects are read for other reasons.

Whoever reads bytes of an object hands them over; a block whose bytes all came by, in whatever order and pieces, is
compared with its recorded sum. A block of which some bytes never come by stays unchecked. Where the storage has a sum
of the whole object, it is compared as well, so that an object that changed at rest is found whatever is read of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from awscrt.checksums import combine_crc32c, crc32c

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.sidecar import ObjectSums
from embsnap.storage.base import Buffer, ObjectInfo

__all__ = ["BlockChecks", "has_usable_blocks"]

_LEAST_BLOCK_BYTES = 1 << 16
_MOST_BLOCK_BYTES = 1 << 26
_MOST_PARTS = 1024
"""Of a block whose bytes come by in more disjoint parts, no more are kept: it stays unchecked."""
_HINT = "fetch the object again, or use another snapshot; `embsnap verify` lists all that is damaged"

_Span = tuple[int, int]


def has_usable_blocks(sums: ObjectSums) -> bool:
    """Whether the blocks are of a size (64 KiB to 64 MiB) that they can be checked one by one."""
    return _LEAST_BLOCK_BYTES <= sums.block_bytes <= _MOST_BLOCK_BYTES


class BlockChecks:
    """The blocks of a snapshot's objects: which were checked, and what of the others came by. Safe between threads."""

    def __init__(self, sums: Mapping[str, ObjectSums], uri: str) -> None:
        """Check against these sums, by location, of the snapshot `uri`; other objects stay unchecked."""
        self._sums = {location: found for location, found in sums.items() if has_usable_blocks(found)}
        self._whole = sums
        self._uri = uri
        self._lock = threading.Lock()
        self._checked: dict[str, set[int]] = {location: set() for location in self._sums}
        self._parts: dict[tuple[str, int], _Parts] = {}
        self._failures: dict[str, dict[int, int]] = {}
        """The sums that were found of blocks that had another one."""

    def knows(self, location: str) -> bool:
        """Whether the object has blocks that can be checked."""
        return location in self._sums

    def compare(self, info: ObjectInfo) -> None:
        """Hold what the storage says of a whole object against what was written, before a byte of it is read.

        Raises:
            SnapshotError: `checksum-mismatch`: its size, or the CRC-32C that the storage has of it, is another.
        """
        sums = self._whole.get(info.location)
        if sums is None:
            return
        found = sums.crc32c if info.crc32c is None else f"{info.crc32c:08x}"
        if (info.size, found) != (sums.size, sums.crc32c):
            raise SnapshotError(
                ErrorKind.CHECKSUM_MISMATCH,
                "the object is not the one that was written: the storage has another size or checksum of it",
                where=f"{self._uri}/{info.location}",
                expected=f"{sums.size} bytes with the crc32c {sums.crc32c}",
                found=f"{info.size} bytes" + ("" if info.crc32c is None else f" with the crc32c {found}"),
                hint=_HINT,
            )

    def passed(self, location: str, start: int, data: Buffer) -> None:
        """The bytes `[start, start + len(data))` of an object were read.

        Raises:
            SnapshotError: `checksum-mismatch`: a block that they complete is not what was written.
        """
        self.note(location, start, data)
        self.raise_failed(location, start, start + memoryview(data).nbytes)

    def note(self, location: str, start: int, data: Buffer) -> None:
        """As `passed`, for those who look for blocks that have `failed` themselves."""
        sums = self._sums.get(location)
        if sums is None:
            return
        with memoryview(data) as whole, whole.cast("B") as view:
            end = min(start + len(view), sums.size)
            for block in range(start // sums.block_bytes, -(-end // sums.block_bytes)):
                if block in self._checked[location]:
                    continue
                first, last = self._span(sums, block)
                part = max(start, first), min(end, last)
                before, sum_ = self._taken(location, block, part[0])
                sum_ = crc32c(view[part[0] - start : part[1] - start], sum_)
                self._add(location, sums, block, (before, part[1]), sum_)

    def failed(self, location: str, start: int, end: int) -> list[_Span]:
        """Blocks with some of the bytes `[start, end)` that were not what was written, and did not come by again."""
        return [self._span(self._sums[location], block) for block, _ in self._failed(location, start, end)]

    def raise_failed(self, location: str, start: int, end: int) -> None:
        """Raise what is to be said of a block that has `failed`, if there is one.

        Raises:
            SnapshotError: `checksum-mismatch`.
        """
        for block, found in self._failed(location, start, end)[:1]:
            sums = self._sums[location]
            raise self._mismatch(location, self._span(sums, block), sums.blocks[block], found)

    def unchecked(self, location: str, start: int, end: int) -> Iterable[_Span]:
        """The parts of `[start, end)` that lie in blocks which were not checked, ascending and disjoint."""
        sums = self._sums.get(location)
        if sums is None:
            return [(start, end)]
        with self._lock:
            checked = self._checked[location]
            blocks = range(start // sums.block_bytes, -(-end // sums.block_bytes))
            bounds = [(self._span(sums, block)) for block in blocks if block not in checked]
        return [(max(start, first), min(end, last)) for first, last in bounds]

    def _failed(self, location: str, start: int, end: int) -> list[tuple[int, int]]:
        """Number and sum of each of these blocks."""
        with self._lock:
            failures = list(self._failures.get(location, {}).items())
        block_bytes = self._sums[location].block_bytes if failures else 1
        blocks = range(start // block_bytes, -(-end // block_bytes))
        return [(block, found) for block, found in failures if block in blocks]

    def _span(self, sums: ObjectSums, block: int) -> _Span:
        return block * sums.block_bytes, min(sums.size, (block + 1) * sums.block_bytes)

    def _taken(self, location: str, block: int, end: int) -> tuple[int, int]:
        """First byte and sum of the part that ends at `end`, to go on from there; of no bytes without one."""
        with self._lock:
            parts = self._parts.get((location, block))
            return (end, 0) if parts is None else parts.take(end)

    def _add(self, location: str, sums: ObjectSums, block: int, part: _Span, sum_: int) -> None:
        """Keep the sum of a part of a block, and compare the block once its parts fill it."""
        with self._lock:
            whole = self._parts.setdefault((location, block), _Parts()).add(part, sum_, self._span(sums, block))
            if whole is None:
                return
            del self._parts[location, block]
            if f"{whole:08x}" == sums.blocks[block]:
                self._checked[location].add(block)
                self._failures.get(location, {}).pop(block, None)
            else:
                self._failures.setdefault(location, {})[block] = whole

    def _mismatch(self, location: str, span: _Span, expected: str, found: int) -> SnapshotError:
        return SnapshotError(
            ErrorKind.CHECKSUM_MISMATCH,
            f"the bytes [{span[0]}, {span[1]}) are not those that were written",
            where=f"{self._uri}/{location}",
            expected=f"crc32c {expected}",
            found=f"{found:08x}",
            hint=_HINT,
        )


class _Parts:
    """The parts of one block that came by, with their sums; neighbours are joined."""

    def __init__(self) -> None:
        self._from: dict[int, tuple[int, int]] = {}
        """First byte → end and sum."""
        self._to: dict[int, int] = {}
        """End → first byte."""

    def take(self, end: int) -> tuple[int, int]:
        """Take out the part that ends at `end`: its first byte and its sum; `end` and 0 without one."""
        start = self._to.pop(end, end)
        return start, self._from.pop(start)[1] if start < end else 0

    def add(self, part: _Span, sum_: int, whole: _Span) -> int | None:
        """Add a part; the sum of `whole` if the parts fill it now. Parts that overlap others are of no use."""
        start, end = part
        if start in self._from or len(self._from) > _MOST_PARTS:
            return None
        if start in self._to:
            before = self._to.pop(start)
            sum_ = combine_crc32c(self._from.pop(before)[1], sum_, end - start)
            start = before
        if end in self._from:
            after, after_sum = self._from.pop(end)
            sum_ = combine_crc32c(sum_, after_sum, after - end)
            end = after
        self._from[start], self._to[end] = (end, sum_), start
        return sum_ if (start, end) == whole else None

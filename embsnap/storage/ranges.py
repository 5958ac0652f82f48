"""Which requests to make for byte ranges that are wanted: near ones merged, long ones split. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from embsnap.storage.base import RangeRead
from embsnap.storage.retries import TransientError

__all__ = ["PART_BYTES", "Part", "PartFiller", "plan_parts"]

PART_BYTES = 8 << 20
"""The longest range that one request asks for."""
_MAX_GAP_BYTES = 1 << 20
"""More than this is never read in vain, because another request costs less."""
_LEAST_ROOM_BYTES = 32 << 10
"""Fewer bytes are not worth a call to receive them in their place."""
_MOST_ROOM_BYTES = 1 << 20
"""So many at most are lost, and asked for again, when a connection breaks; larger ones leave a core's cache."""


@dataclass(frozen=True, slots=True)
class Part:
    """One request: the bytes `[start, end)` of the object, and the buffers that they fill.

    Attributes:
        start: Of the first piece.
        end: Of the piece that ends last.
        pieces: Sorted by start. They may overlap each other, and leave gaps.
    """

    start: int
    end: int
    pieces: tuple[RangeRead, ...]


def plan_parts(requests: Sequence[RangeRead], part_bytes: int = PART_BYTES) -> list[Part]:
    """The requests to make, by start.

    Two ranges become one where the gap between them is smaller than what is asked for on either side, so that less
    than twice the bytes that are asked for is read.

    Args:
        requests: In any order; empty ones are left out.
        part_bytes: How long a part may be.
    """
    wanted = sorted((request for request in requests if request.buffer), key=lambda request: request.start)
    return [part for run in _runs(wanted) for part in _split(run, part_bytes)]


def _runs(wanted: Sequence[RangeRead]) -> Iterator[list[RangeRead]]:
    """Ranges that are read in one go; `wanted` is sorted."""
    run: list[RangeRead] = []
    end = asked_bytes = 0
    for request in wanted:
        gap = request.start - end
        if run and gap > 0 and not gap < min(asked_bytes, len(request.buffer), _MAX_GAP_BYTES):
            yield run
            run, asked_bytes = [], 0
        new_start = max(end, request.start) if run else request.start
        run.append(request)
        end = max(new_start, request.start + len(request.buffer))
        asked_bytes += end - new_start
    if run:
        yield run


def _split(run: Sequence[RangeRead], part_bytes: int) -> Iterator[Part]:
    """Cut a run every `part_bytes` bytes; a part begins and ends where a piece does."""
    first = run[0].start
    by_part: dict[int, list[RangeRead]] = {}
    for request in run:
        end = request.start + len(request.buffer)
        for index in range((request.start - first) // part_bytes, (end - 1 - first) // part_bytes + 1):
            piece = request.within(first + index * part_bytes, first + (index + 1) * part_bytes)
            by_part.setdefault(index, []).append(piece)
    for index in sorted(by_part):
        pieces = by_part[index]
        yield Part(pieces[0].start, max(piece.start + len(piece.buffer) for piece in pieces), tuple(pieces))


class PartFiller:
    """Distributes the bytes of one part over its buffers as they arrive.

    Attributes:
        part: What is filled.
        position: Where in the object the next byte belongs; `part.end` when all have arrived.
    """

    def __init__(self, part: Part) -> None:
        """Begin at the part's start."""
        self.part = part
        self.position = part.start
        self._done = 0
        self._scratch = memoryview(b"")

    def room(self) -> memoryview:
        """Where to put the next bytes, some or all of it, for `filled`; empty when all have arrived.

        It is their buffer itself, unless little of it is left or another one wants the same bytes.
        """
        pieces = self.part.pieces
        self._skip_done()
        if self._done < len(pieces):
            piece = pieces[self._done]
            end = piece.start + len(piece.buffer)
            if self._done + 1 < len(pieces):
                end = min(end, pieces[self._done + 1].start)
            if piece.start <= self.position and end - self.position >= _LEAST_ROOM_BYTES:
                first = self.position - piece.start
                return piece.buffer[first : min(first + _MOST_ROOM_BYTES, end - piece.start)]
        if not self._scratch:
            self._scratch = memoryview(bytearray(min(_MOST_ROOM_BYTES, self.part.end - self.part.start)))
        return self._scratch[: self.part.end - self.position]

    def filled(self, room: memoryview, num_bytes: int) -> None:
        """So many bytes stand at the beginning of what `room` gave."""
        if room.obj is self._scratch.obj:
            self.feed(room[:num_bytes])
        else:
            start, self.position = self.position, self.position + num_bytes
            self.part.pieces[self._done].note_arrival(start, self.position)

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the object.

        Raises:
            TransientError: They go beyond the part's end.
        """
        start, end = self.position, self.position + len(data)
        if end > self.part.end:
            raise TransientError(f"more bytes arrived than the {self.part.end - self.part.start} of the range")
        view, pieces = memoryview(data), self.part.pieces
        self._skip_done()
        for index in range(self._done, len(pieces)):
            piece = pieces[index]
            low, high = max(start, piece.start), min(end, piece.start + len(piece.buffer))
            if piece.start >= end:
                break
            if low < high:
                piece.buffer[low - piece.start : high - piece.start] = view[low - start : high - start]
                piece.note_arrival(low, high)
        self.position = end

    def _skip_done(self) -> None:
        """Leave the pieces behind that are full."""
        pieces = self.part.pieces
        while self._done < len(pieces):
            piece = pieces[self._done]
            if piece.start + len(piece.buffer) > self.position:
                return
            self._done += 1

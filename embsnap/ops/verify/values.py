"""The values of arrays: none infinite or not a number, no table all zero.

An element belongs to the chunk in which it begins.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.finite import EXPONENT_BITS, count_non_finite, first_non_finite, is_all_zero
from embsnap.model.findings import Finding, Severity
from embsnap.model.table import Piece
from embsnap.ops.verify.checked import Checked, at_most
from embsnap.ops.verify.geometry import SoundArray
from embsnap.ops.verify.scan import Chunk, ObjectToScan

__all__ = ["Looking"]


@dataclass(slots=True, eq=False)
class _Seen:
    """What was seen of one array."""

    array: SoundArray
    num_values: int = 0
    num_non_finite: int = 0
    example: tuple[int, ...] | None = None
    """Where the first value that is no number stands, of those that were met first."""
    is_zero: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """The bytes `[start, end)` of an object, which hold a piece of an array."""

    start: int
    end: int
    piece: Piece
    seen: _Seen

    @property
    def itemsize(self) -> int:
        return self.seen.array.array.dtype.itemsize


class Looking:
    """Counts what is wrong with the values in the chunks it is shown, from any thread."""

    def __init__(self, arrays: Sequence[SoundArray]) -> None:
        """Look at the floating-point arrays among these."""
        self._lock = threading.Lock()
        self._seen = [_Seen(each) for each in arrays if each.array.dtype.name in EXPONENT_BITS]
        self._objects: dict[str, _Pieces] = {}
        for seen in self._seen:
            for piece in seen.array.array.pieces:
                num_bytes = prod(piece.sizes) * seen.array.array.dtype.itemsize
                placed = _Placed(piece.start, piece.start + num_bytes, piece, seen)
                self._objects.setdefault(piece.location, _Pieces()).items.append(placed)
        for pieces in self._objects.values():
            pieces.sort()

    def chunks(self, each: ObjectToScan, sample: float) -> list[int]:
        """The chunks of an object in which values begin; of these an evenly spread share, the first among them."""
        pieces = self._objects.get(each.location)
        numbers: set[int] = set()
        for placed in pieces.items if pieces is not None else ():
            numbers.update(range(placed.start // each.chunk_bytes, -(-placed.end // each.chunk_bytes)))
        ordered = sorted(numbers)
        return [number for i, number in enumerate(ordered) if not i or int(i * sample) > int((i - 1) * sample)]

    def look(self, chunk: Chunk) -> None:
        """Look at the values that begin in a chunk."""
        pieces = self._objects.get(chunk.object.location)
        if pieces is None:
            return
        end = chunk.start + len(chunk.data)
        for placed in pieces.within(chunk.start, end):
            first = max(0, -(-(chunk.start - placed.start) // placed.itemsize))
            last = -(-(min(end, placed.end) - placed.start) // placed.itemsize)
            if first < last:
                self._look_at(placed, first, last, chunk)

    def _look_at(self, placed: _Placed, first: int, last: int, chunk: Chunk) -> None:
        exponent = EXPONENT_BITS[placed.seen.array.array.dtype.name]
        offset = placed.start + first * placed.itemsize - chunk.start
        bits_N: NDArray[Any] = np.frombuffer(chunk.extended, exponent.dtype, last - first, offset)
        count, seen = count_non_finite(bits_N, exponent), placed.seen
        is_zero = seen.is_zero and seen.array.is_table and is_all_zero(bits_N)
        example = _position(placed.piece, first + first_non_finite(bits_N, exponent)) if count else None
        with self._lock:
            seen.num_values += last - first
            seen.num_non_finite += count
            seen.is_zero = seen.is_zero and is_zero
            seen.example = min(filter(None, (seen.example, example)), default=None)

    def result(self, *, sample: float) -> Checked:
        """What was found, once all chunks were shown."""
        sampled = f"a sample of {100 * sample:g} % of the blocks" if sample < 1 else None
        findings = tuple(at_most(self._findings(sampled)))
        return Checked(sum(seen.num_values for seen in self._seen), "values", findings, sampled)

    def _findings(self, sampled: str | None) -> Iterator[Finding]:
        for seen in self._seen:
            if seen.num_non_finite:
                message = f"{seen.num_non_finite:,} of {seen.num_values:,} values are infinite or not a number"
                example = (f"element {list(seen.example or ())}",)
                remedy = "train from an earlier snapshot, or draw these rows anew"
                yield _finding(Severity.ERROR, "non-finite", seen, message, remedy, seen.num_non_finite, example)
            if seen.array.is_table and seen.is_zero and seen.num_values:
                message = f"all {seen.num_values:,} values {'of ' + sampled if sampled else ''} are zero"
                remedy = "it was never trained, or never filled"
                yield _finding(Severity.WARNING, "all-zero", seen, " ".join(message.split()), remedy, 1, ())


@dataclass(slots=True)
class _Pieces:
    """The pieces in one object."""

    items: list[_Placed] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _longest: int = 0

    def sort(self) -> None:
        self.items.sort(key=lambda each: each.start)
        self._starts = [each.start for each in self.items]
        self._longest = max(each.end - each.start for each in self.items)

    def within(self, start: int, end: int) -> Iterator[_Placed]:
        """Those that share bytes with `[start, end)`."""
        first = bisect_left(self._starts, start - self._longest)
        last = bisect_left(self._starts, end)
        return (each for each in self.items[first:last] if each.end > start)


def _position(piece: Piece, element: int) -> tuple[int, ...]:
    """The place in its array of the element number `element` of a piece."""
    index = np.unravel_index(element, piece.sizes) if piece.sizes else ()
    return tuple(int(offset + i) for offset, i in zip(piece.offsets, index, strict=True))


def _finding(
    severity: Severity, kind: str, seen: _Seen, message: str, remedy: str, count: int, examples: tuple[str, ...]
) -> Finding:
    return Finding(severity, kind, seen.array.name, message, remedy, count, examples)

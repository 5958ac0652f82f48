"""Where the rows of each array go: pieces of whole rows, put one after the other into objects of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["OBJECT_BYTES", "PIECE_BYTES", "ObjectLayout", "PlacedPiece", "RowShape", "place"]

PIECE_BYTES = 256 << 20
"""Largest piece, half of what torchsnapshot itself writes, so that its readers need little memory."""
OBJECT_BYTES = 256 << 20
"""Largest object, but for a piece that is larger by itself."""
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class RowShape:
    """What the layout of an array depends on."""

    num_rows: int
    row_bytes: int


@dataclass(frozen=True, slots=True)
class PlacedPiece:
    """The rows `[start_row, end_row)` of one array and the bytes `[start, end)` of the object that hold them."""

    array: int
    """Index of the array."""
    start_row: int
    end_row: int
    start: int
    """A multiple of 64; the gap before it holds zeros."""
    end: int


@dataclass(frozen=True, slots=True)
class ObjectLayout:
    """One object: its pieces, in the order of their bytes."""

    pieces: tuple[PlacedPiece, ...]

    @property
    def num_bytes(self) -> int:
        """Size of the object."""
        return self.pieces[-1].end


def place(
    arrays: Sequence[RowShape], *, piece_bytes: int | None = None, object_bytes: int | None = None
) -> tuple[ObjectLayout, ...]:
    """Place every row of every array.

    An array is cut into as few pieces of at most `piece_bytes` as will do, of equal length but for the last; a single
    row that is larger is a piece of its own. Pieces fill one object after the other up to `object_bytes`. An array
    without rows is one piece without bytes. The layout depends on nothing but the arguments.

    Args:
        arrays: In the order they are to be stored in.
        piece_bytes: Limit of a piece, `PIECE_BYTES` by default.
        object_bytes: Limit of an object, `OBJECT_BYTES` by default.

    Returns:
        The objects, each with at least one piece.
    """
    piece_bytes = piece_bytes or PIECE_BYTES
    object_bytes = object_bytes or OBJECT_BYTES
    objects: list[list[PlacedPiece]] = []
    for index, array in enumerate(arrays):
        for start_row, end_row in _cut(array, piece_bytes):
            num_bytes = (end_row - start_row) * array.row_bytes
            start = -(-objects[-1][-1].end // _ALIGNMENT) * _ALIGNMENT if objects else 0
            if not objects or start + num_bytes > object_bytes:
                objects.append([])
                start = 0
            objects[-1].append(PlacedPiece(index, start_row, end_row, start, start + num_bytes))
    return tuple(ObjectLayout(tuple(pieces)) for pieces in objects)


def _cut(array: RowShape, piece_bytes: int) -> Iterator[tuple[int, int]]:
    most_rows = max(1, piece_bytes // max(1, array.row_bytes))
    num_pieces = max(1, -(-array.num_rows // most_rows))
    num_rows = -(-array.num_rows // num_pieces)
    for piece in range(num_pieces):
        start = piece * num_rows
        if start < array.num_rows or piece == 0:
            yield start, min(start + num_rows, array.num_rows)

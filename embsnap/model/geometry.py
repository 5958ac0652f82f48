"""Boxes: rectangles of an array, and the proof that a set of them covers it exactly.

The proof counts signed corners. The indicator function of a half-open box is determined by its 2^d corners with the
sign (-1)^(number of upper coordinates); a sum of boxes equals the array's own box everywhere if and only if their
signed corners add up to those of the array. That holds in any number of dimensions, in time linear in the boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from operator import add
from typing import Protocol

__all__ = ["Box", "CoverDefect", "Rectangle", "bounding_shape", "cover_defect"]

_MAX_CORNERS = 1 << 24
"""Corners that a proof looks at; a set of boxes with more is refused."""

_Point = tuple[int, ...]


class Rectangle(Protocol):
    """Whatever lies in an array as a `Box` does: a shard, a piece."""

    @property
    def offsets(self) -> _Point:
        """The first element in each dimension."""

    @property
    def sizes(self) -> _Point:
        """Elements in each dimension."""


@dataclass(frozen=True, slots=True)
class Box:
    """The elements `[offsets[d], offsets[d] + sizes[d])` in each dimension d."""

    offsets: _Point
    sizes: _Point

    @property
    def ends(self) -> _Point:
        """One past the last element in each dimension."""
        return tuple(map(add, self.offsets, self.sizes))

    @property
    def volume(self) -> int:
        """Number of elements."""
        return prod(self.sizes)

    def __contains__(self, point: _Point) -> bool:
        return all(a <= x < b for a, x, b in zip(self.offsets, point, self.ends, strict=True))

    def __str__(self) -> str:
        return " × ".join(f"[{a}, {b})" for a, b in zip(self.offsets, self.ends, strict=True)) or "scalar"


@dataclass(frozen=True, slots=True)
class CoverDefect:
    """Why boxes do not cover an array exactly."""

    kind: str
    """`gap`, `overlap`, `out-of-bounds` or `too-complex`."""
    message: str
    """With the first place where it shows."""


def bounding_shape(boxes: Sequence[Rectangle]) -> _Point | None:
    """The smallest shape that holds all boxes, or None for no boxes or boxes of different dimensions."""
    if not boxes or len({len(box.offsets) for box in boxes}) != 1:
        return None
    return tuple(map(max, zip(*[tuple(map(add, box.offsets, box.sizes)) for box in boxes], strict=True)))


def cover_defect(shape: _Point, boxes: Sequence[Rectangle]) -> CoverDefect | None:
    """None if every element of an array is in exactly one box.

    Args:
        shape: Of the array; each extent ≥ 0.
        boxes: Of as many dimensions; empty ones need only lie inside.

    Returns:
        The first defect in row-major order of elements.
    """
    for box in boxes:
        if not _fits(box, shape):  # a plain loop: a manifest may list hundreds of thousands
            outside = Box(box.offsets, box.sizes)
            return CoverDefect("out-of-bounds", f"the piece {outside} is not inside of the shape {list(shape)}")
    not_empty = [box for box in boxes if 0 not in box.sizes]
    axes = [d for d, size in enumerate(shape) if any(box.sizes[d] != size for box in not_empty)]
    if len(not_empty) == 1 and not axes:
        return None
    if len(axes) == 1 and _follow_one_another(not_empty, axes[0], shape[axes[0]]):
        return None
    filled, whole = [Box(box.offsets, box.sizes) for box in not_empty], Box((0,) * len(shape), shape)
    if len(filled) << len(axes) > _MAX_CORNERS:
        return CoverDefect("too-complex", f"{len(filled)} pieces cut {len(axes)} dimensions")
    wrong = _first_wrong_corner(whole, filled, axes)
    return None if wrong is None else _describe(wrong, shape, filled, axes)


def _fits(box: Rectangle, shape: _Point) -> bool:
    if len(box.offsets) != len(shape) or len(box.sizes) != len(shape):
        return False
    for offset, size, extent in zip(box.offsets, box.sizes, shape, strict=True):
        if offset < 0 or size < 0 or offset + size > extent:
            return False
    return True


def _follow_one_another(boxes: Sequence[Rectangle], axis: int, extent: int) -> bool:
    """Whether boxes that are whole along every other axis fill `[0, extent)` of this one without the general proof."""
    reached = 0
    for start, size in sorted([(box.offsets[axis], box.sizes[axis]) for box in boxes]):
        if start != reached:
            return False
        reached += size
    return reached == extent


def _corners(box: Box, axes: Sequence[int]) -> Iterator[tuple[_Point, int]]:
    intervals = [((box.offsets[d], 1), (box.offsets[d] + box.sizes[d], -1)) for d in axes]
    for corner in product(*intervals):
        yield tuple(x for x, _ in corner), prod(sign for _, sign in corner)


def _first_wrong_corner(whole: Box, boxes: Sequence[Box], axes: Sequence[int]) -> tuple[_Point, int] | None:
    """The first element, along `axes`, that is not in exactly one box, and in how many too many it is."""
    if not whole.volume:
        return None
    counts: dict[_Point, int] = {}
    if not boxes:
        return (0,) * len(axes), -1
    for corner, sign in _corners(whole, axes):
        counts[corner] = counts.get(corner, 0) - sign
    for box in boxes:
        for corner, sign in _corners(box, axes):
            counts[corner] = counts.get(corner, 0) + sign
    return min(((corner, count) for corner, count in counts.items() if count), default=None)


def _describe(wrong: tuple[_Point, int], shape: _Point, boxes: Sequence[Box], axes: Sequence[int]) -> CoverDefect:
    corner, excess = wrong
    element = [0] * len(shape)
    for d, x in zip(axes, corner, strict=True):
        element[d] = x
    point = tuple(element)
    if excess > 0:
        holders = [str(box) for box in boxes if point in box]
        return CoverDefect("overlap", f"element {list(point)} is in {len(holders)} pieces: {', '.join(holders[:3])}")
    return CoverDefect("gap", f"no piece holds {_gap_from(point, shape, boxes)} of the shape {list(shape)}")


def _gap_from(point: _Point, shape: _Point, boxes: Sequence[Box]) -> str:
    """The gap that begins at `point`, as far as it reaches along the first dimension."""
    if not point:
        return "the one element"
    beyond = [box.offsets[0] for box in boxes if box.offsets[0] > point[0] and (point[1:] in _tail(box))]
    end = min([*beyond, shape[0]])
    rows = f"rows [{point[0]}, {end})"
    return rows if not any(point[1:]) else f"{rows} from column {', '.join(map(str, point[1:]))} on"


def _tail(box: Box) -> Box:
    return Box(box.offsets[1:], box.sizes[1:])

"""The proof of cover against counting every element."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embsnap.model.geometry import Box, bounding_shape, cover_defect


@st.composite
def tilings(draw):
    """A shape and boxes that tile it, made by cutting boxes in two at random places."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    boxes = [Box((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(0, 12))):
        box = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        boxes += _cut(box, axis, draw(st.integers(0, box.sizes[axis])))
    return shape, draw(st.permutations(boxes))


def _cut(box, axis, at):
    lower = tuple(at if d == axis else size for d, size in enumerate(box.sizes))
    upper = tuple(size - at if d == axis else size for d, size in enumerate(box.sizes))
    moved = tuple(offset + at if d == axis else offset for d, offset in enumerate(box.offsets))
    return [Box(box.offsets, lower), Box(moved, upper)]


@st.composite
def box_sets(draw):
    """A shape and any boxes inside of it."""
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)))
    boxes = []
    for _ in range(draw(st.integers(0, 6))):
        offsets = tuple(draw(st.integers(0, extent)) for extent in shape)
        sizes = tuple(draw(st.integers(0, extent - offset)) for offset, extent in zip(offsets, shape, strict=True))
        boxes.append(Box(offsets, sizes))
    return shape, boxes


def counted(shape, boxes):
    """In how many boxes each element is."""
    counts = np.zeros(shape, int)
    for box in boxes:
        counts[tuple(slice(a, b) for a, b in zip(box.offsets, box.ends, strict=True))] += 1
    return counts


@given(tilings())
def test_a_tiling_covers_exactly(tiling):
    shape, boxes = tiling
    assert cover_defect(shape, boxes) is None
    assert bounding_shape(boxes) == shape


@given(box_sets())
def test_any_boxes_are_judged_as_counting_does(box_set):
    shape, boxes = box_set
    counts, defect = counted(shape, boxes), cover_defect(shape, boxes)
    assert (defect is None) == bool((counts == 1).all())
    if defect is not None:
        first = counts[tuple(np.argwhere(counts != 1)[0])]
        assert defect.kind == ("gap" if first == 0 else "overlap")


@given(tilings(), st.data())
def test_a_lost_box_is_a_gap_and_a_doubled_one_an_overlap(tiling, data):
    shape, boxes = tiling
    box = data.draw(st.sampled_from([box for box in boxes if box.volume]))
    without = [other for other in boxes if other is not box]
    assert cover_defect(shape, without).kind == "gap"
    assert cover_defect(shape, [*boxes, box]).kind == "overlap"

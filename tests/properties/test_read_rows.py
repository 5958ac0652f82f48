"""However an array is cut into pieces and whatever the storage can do, the same rows come out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.formats.dtypes import from_numpy, to_numpy
from embsnap.formats.torchsnapshot import scattered, sources, staging
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.model.dtypes import DTYPES
from embsnap.model.table import Piece, StoredArray
from embsnap.storage.memory import MemoryStore
from embsnap.storage.wrappers import CountingStore

_names = itertools.count()
DTYPE_NAMES = ["float32", "float16", "bfloat16", "float64", "int64", "uint8", "int16"]


@st.composite
def cut_arrays(draw):
    """A matrix, and a list of rectangles that tile it."""
    num_rows, dim = draw(st.integers(1, 30)), draw(st.integers(1, 7))
    dtype = to_numpy(DTYPES[draw(st.sampled_from(DTYPE_NAMES))])
    bits = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (num_rows, dim * dtype.itemsize), np.uint8)
    boxes = [(0, num_rows, 0, dim)]
    for _ in range(draw(st.integers(0, 6))):
        top, bottom, left, right = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        if draw(st.booleans()):
            cut = draw(st.integers(top, bottom))
            boxes += [(top, cut, left, right), (cut, bottom, left, right)]
        else:
            cut = draw(st.integers(left, right))
            boxes += [(top, bottom, left, cut), (top, bottom, cut, right)]
    return bits.view(dtype), [box for box in boxes if box[0] < box[1] and box[2] < box[3]]


def stored(array, boxes, *, padding, maps):
    """A reader of the array, its pieces one after the other in one object, each after `padding` bytes."""
    store = MemoryStore(f"memory://rows{next(_names)}")
    data, pieces = b"", []
    for top, bottom, left, right in boxes:
        data += b"\xaa" * padding
        piece = array[top:bottom, left:right].tobytes()
        where = ((top, left), (bottom - top, right - left), "batched/a", len(data), len(data) + len(piece))
        pieces.append(Piece(*where, rank=0))
        data += piece
    store.create("batched/a", data)
    ordered = tuple(sorted(pieces, key=lambda piece: piece.offsets))
    stored_array = StoredArray("model/w", from_numpy(array.dtype), array.shape, ordered, "ShardedTensor")
    return ArrayReader(CountingStore(store, maps=maps), stored_array)


def same(found, expected):
    return found.tobytes() == np.ascontiguousarray(expected).tobytes()


@given(cut_arrays(), st.integers(0, 3), st.booleans(), st.data())
def test_slices(cut, padding, maps, data):
    array, boxes = cut
    reader = stored(array, boxes, padding=padding, maps=maps)
    start = data.draw(st.integers(0, len(array)))
    end = data.draw(st.integers(start, len(array)))
    rows_ND = np.empty((end - start, array.shape[1]), array.dtype)
    reader.read(start, end, rows_ND)
    assert same(rows_ND, array[start:end])


@given(cut_arrays(), st.integers(0, 3), st.booleans(), st.data())
def test_indices(cut, padding, maps, data):
    array, boxes = cut
    reader = stored(array, boxes, padding=padding, maps=maps)
    rows_N = np.array(data.draw(st.lists(st.integers(-2, len(array) - 1), max_size=40)), np.int64)
    rows_ND = np.zeros((len(rows_N), array.shape[1]), array.dtype)
    expected = np.where((rows_N >= 0)[:, None], array[np.maximum(rows_N, 0)], rows_ND)
    reader.gather(rows_N, rows_ND)
    assert same(rows_ND, expected.astype(array.dtype))


@given(cut_arrays(), st.integers(1, 4000), st.booleans())
def test_blocks_of_any_size_make_the_whole(cut, budget_bytes, maps):
    array, boxes = cut
    blocks = list(stored(array, boxes, padding=1, maps=maps).blocks(budget_bytes))
    assert same(np.concatenate([rows_ND for _, rows_ND in blocks]), array)
    assert [start for start, _ in blocks] == list(itertools.accumulate((len(b) for _, b in blocks[:-1]), initial=0))
    row_bytes = array.shape[1] * array.dtype.itemsize
    assert all(2 * rows_ND.nbytes <= max(budget_bytes, 2 * row_bytes) for _, rows_ND in blocks)


@pytest.mark.parametrize("scratch_bytes", [1, 40, 1 << 20])
def test_the_size_of_requests_changes_nothing(monkeypatch, scratch_bytes):
    monkeypatch.setattr(scattered, "_SCRATCH_BYTES", scratch_bytes)
    monkeypatch.setattr(sources, "_SCRATCH_BYTES", scratch_bytes)

    @settings(max_examples=30)
    @given(cut_arrays(), st.data())
    def check(cut, data):
        array, boxes = cut
        reader = stored(array, boxes, padding=1, maps=False)
        rows_N = np.array(data.draw(st.lists(st.integers(0, len(array) - 1), min_size=1, max_size=40)), np.int64)
        rows_ND = np.empty((len(rows_N), array.shape[1]), array.dtype)
        reader.gather(rows_N, rows_ND)
        assert same(rows_ND, array[rows_N])
        whole_ND = np.empty_like(array)
        reader.read(0, len(array), whole_ND)
        assert same(whole_ND, array)

    check()


@pytest.mark.parametrize("band_bytes", [1, 50, 1 << 20])
@pytest.mark.parametrize("few_requests", [0, 1000])
@pytest.mark.parametrize("part_bytes", [1, 1 << 20])
def test_staged_rows_are_the_same_rows(monkeypatch, band_bytes, few_requests, part_bytes):
    monkeypatch.setattr(staging, "_BAND_BYTES", band_bytes)
    monkeypatch.setattr(staging, "_FEW_REQUESTS", few_requests)
    monkeypatch.setattr(staging, "_PART_BYTES", part_bytes)

    @settings(max_examples=30)
    @given(cut_arrays(), st.data())
    def check(cut, data):
        array, boxes = cut
        reader = stored(array, boxes, padding=1, maps=False)
        rows_V = np.array(data.draw(st.lists(st.integers(-2, len(array) - 1), max_size=40)), np.int64)
        others_N = np.array(data.draw(st.lists(st.integers(0, len(array) - 1), max_size=5)), np.int64)
        reader.stage([rows_V, others_N])
        asked_N = np.concatenate([others_N, rows_V])
        rows_ND = np.zeros((len(asked_N), array.shape[1]), array.dtype)
        expected = np.where((asked_N >= 0)[:, None], array[np.maximum(asked_N, 0)], rows_ND)
        reader.gather(asked_N, rows_ND)
        assert same(rows_ND, expected.astype(array.dtype))

    check()


@given(cut_arrays(), st.booleans(), st.integers(1, 300), st.data())
def test_a_sweep_puts_every_row_in_its_places(cut, maps, block_bytes, data):
    array, boxes = cut
    reader = stored(array, boxes, padding=1, maps=maps)
    row_V = np.array(data.draw(st.lists(st.integers(-2, len(array) - 1), max_size=60)), np.int64)
    found_VD = np.zeros((len(row_V), array.shape[1]), array.dtype)
    times_VD = np.zeros(found_VD.shape, int)

    def put(places_M, rows_Md, first_column):
        columns = slice(first_column, first_column + rows_Md.shape[1])
        found_VD[places_M, columns] = rows_Md
        np.add.at(times_VD[:, columns], places_M, 1)

    reader.sweep(row_V, put, block_bytes=block_bytes)
    expected_VD = np.where((row_V >= 0)[:, None], array[np.maximum(row_V, 0)], np.zeros_like(found_VD))
    assert same(found_VD, expected_VD.astype(array.dtype))
    assert (times_VD == (row_V >= 0)[:, None]).all()

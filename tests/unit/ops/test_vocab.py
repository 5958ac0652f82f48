"""`embsnap.Vocab`, and that it copies nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import embsnap
from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.model.vocabulary import Declared, IdType
from embsnap.ops.vocab import Vocab
from embsnap.ops.vocab_build import BuildOptions
from embsnap.ops.vocab_extension import ExtendOptions
from embsnap.testing.vocabularies import parquet_bytes, put


def _address(array):
    return array.__array_interface__["data"][0]


def _buffer(column, number):
    chunked = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return chunked.buffers()[number].address


def _kind(function, *arguments, **options):
    with pytest.raises(EmbsnapError) as caught:
        function(*arguments, **options)
    return caught.value.kind


def test_it_is_a_public_name():
    assert embsnap.Vocab is Vocab


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_numpy_goes_in_and_out_without_a_copy(dtype):
    ids, rows, counts = np.array([7, 5], dtype), np.array([1, 0]), np.array([3, 4])
    vocab = Vocab.from_numpy(ids, rows, counts)
    table = vocab.to_arrow()
    for name, array in (("ids", ids), ("rows", rows), ("counts", counts)):
        assert _address(getattr(vocab, name)) == _address(array)
        assert _buffer(table.column(name[:-1] if name != "rows" else "row"), 1) == _address(array)
    assert table.schema.field("id").type == (pa.uint64() if dtype == np.uint64 else pa.int64())


def test_arrow_integers_go_in_and_out_without_a_copy():
    table = pa.table({"count": [3, 4], "id": [7, 5], "row": [1, 0]})
    vocab = Vocab.from_arrow(table)
    for name, array in (("id", vocab.ids), ("row", vocab.rows), ("count", vocab.counts)):
        assert _address(array) == _buffer(table.column(name), 1) == _buffer(vocab.to_arrow().column(name), 1)


def test_arrow_strings_go_in_and_out_without_a_copy():
    large = pa.record_batch({"id": pa.array(["a", "bc"], pa.large_string()), "row": [1, 0]})
    vocab = Vocab.from_arrow(large)
    for number in (1, 2):
        assert _buffer(large.column("id"), number) == _buffer(vocab.ids, number)
    narrow = pa.table({"id": ["a", "bc"], "row": [1, 0]})
    assert _buffer(narrow.column("id"), 2) == _buffer(Vocab.from_arrow(narrow).ids, 2)
    assert vocab.ids.to_pylist() == vocab.to_arrow().column("id").to_pylist() == ["a", "bc"]
    assert vocab.counts is None
    assert vocab.to_arrow().column_names == ["id", "row"]


def test_written_and_read(tmp_path):
    declared = Declared(reserved=((0, 1),), oov=(1, 3))
    vocab = Vocab.from_numpy(["x", "y"], [3, 4], [9, 1], declared=declared)
    again = Vocab.read(vocab.write(str(tmp_path / "user.parquet")))
    assert again.to_arrow().to_pydict() == vocab.to_arrow().to_pydict()
    assert again.fingerprint == vocab.fingerprint
    assert again.index().oov == (1, 3)
    assert (len(again), again.id_type) == (2, IdType.STRING)
    assert _kind(vocab.write, str(tmp_path / "user.parquet")) is ErrorKind.DESTINATION_TAKEN


def test_a_week_in_short(tmp_path):
    put(str(tmp_path / "events.parquet"), parquet_bytes({"user": [5, 5, 5, 7, 7, 9]}))
    monday = Vocab.build(str(tmp_path / "events.parquet"), BuildOptions(id_columns=("user",), min_count=2, num_oov=1))
    assert (monday.ids.tolist(), monday.rows.tolist(), monday.report.num_rare) == ([5, 7], [1, 2], 1)
    tuesday = monday.extend([9, 7], [4, 4], ExtendOptions(max_size=2))
    assert tuesday.report.num_added == 1
    assert tuesday.lookup([7, 9, 5]).tolist() == [2, 1, -1]
    assert tuesday.lookup([5], "row").tolist() == [0]
    row_map = monday.align(tuesday)
    assert (row_map.row_V.tolist(), row_map.num_carried, row_map.num_dropped) == ([-1, -1, 2], 1, 1)
    difference = monday.diff(tuesday)
    assert (difference.num_shared, difference.a.num_only, difference.b.num_only) == (1, 1, 1)
    assert monday.extend(Vocab.from_numpy([8]), options=ExtendOptions()).lookup([8]).tolist() == [3]


def test_arrays_that_are_no_vocabulary():
    ids = np.array([1, 2])
    assert _kind(Vocab.from_numpy, ids, [0]) is ErrorKind.BAD_VOCABULARY
    assert _kind(Vocab.from_numpy, ids, [0, -1]) is ErrorKind.BAD_VOCABULARY
    assert _kind(Vocab.from_numpy, ids, [0, 1], [1]) is ErrorKind.BAD_VOCABULARY
    assert _kind(Vocab.from_numpy, ids[:0]) is ErrorKind.BAD_VOCABULARY
    assert _kind(Vocab.from_numpy, ids, [0.5, 1]) is ErrorKind.ID_TYPE_MISMATCH
    assert _kind(Vocab.from_numpy, pa.array([1, None])) is ErrorKind.NULL_IDS
    assert _kind(Vocab.from_arrow, pa.table({"id": [1]})) is ErrorKind.BAD_VOCABULARY


def test_ids_that_cannot_extend_it():
    vocab = Vocab.from_numpy(np.array([1, 2]), counts=np.array([1, 1]))
    assert _kind(vocab.extend, [3, 3], [1, 1]) is ErrorKind.DUPLICATE_IDS
    assert _kind(vocab.extend, [3, 4], [1]) is ErrorKind.BAD_VOCABULARY
    assert _kind(vocab.extend, [3, 4], [1, -1]) is ErrorKind.BAD_VOCABULARY
    assert _kind(vocab.extend, ["a"]) is ErrorKind.ID_TYPE_MISMATCH


def test_counts_are_added_exactly_or_not_at_all():
    vocab = Vocab.from_numpy(np.array([1, 2]), counts=np.array([2**53 + 1, 1]))
    keep = ExtendOptions(decay=1)
    assert vocab.extend([1], [2], keep).counts.tolist() == [2**53 + 3, 1]
    assert _kind(vocab.extend, [1], [2**63 - 1], keep) is ErrorKind.BAD_VOCABULARY

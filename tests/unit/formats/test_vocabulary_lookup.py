"""Finding entities without reading what the statistics rule out."""

from __future__ import annotations

import random
import struct

import pyarrow as pa
import pytest

from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.formats.parquet import ParquetObject
from embsnap.formats.vocabulary_columns import VocabularyColumns, agree_on_layout
from embsnap.formats.vocabulary_lookup import SearchedVocabulary, open_vocabulary
from embsnap.storage.memory import MemoryStore
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.vocabularies import parquet_bytes, put


def searched(columns, **options):
    """A vocabulary of one file, and the store that counts what is read of it."""
    store = CountingStore(MemoryStore(f"memory://lookup-{random.random()}"), maps=False)
    store.create("v.parquet", parquet_bytes(columns, **options))
    file = ParquetObject(store, "v.parquet")
    return SearchedVocabulary((file,), agree_on_layout([file], VocabularyColumns(), None)), store


def found(matches):
    return [(match.wanted, match.id, match.row, match.count) for match in matches]


@pytest.fixture
def large():
    """100 row groups of 1,000 entities: rows ascend, ids are spread over all row groups."""
    ids = [i * 7919 % 100_003 for i in range(100_000)]
    return searched(
        {"id": pa.array(ids), "row": pa.array(range(100_000))}, row_group_size=1000, compression="none"
    ), ids


def test_only_the_row_group_that_can_hold_a_row_is_read(large):
    (vocabulary, store), ids = large
    footer, size = store.bytes_read["v.parquet"], store.stat("v.parquet").size
    matches, groups = vocabulary.with_rows([70_123], 1)
    assert found(matches) == [(0, ids[70_123], 70_123, None)]
    assert [group for _, group in groups] == [70]
    # the column of rows, then both: well below three row groups of a hundred
    assert 0 < store.bytes_read["v.parquet"] - footer < size * 3 / 100


def test_what_no_row_group_can_hold_costs_no_read(large):
    (vocabulary, store), _ = large
    before = store.bytes_read["v.parquet"]
    assert vocabulary.with_rows([100_000, 2**62], 2) == ([], set())
    assert vocabulary.with_ids([-1, 2**62], 2) == ([], set())
    assert vocabulary.with_ids([], 2) == ([], set())
    assert store.bytes_read["v.parquet"] == before


def test_other_columns_are_read_only_where_something_is_found(large):
    """The ids are spread, so that each row group may hold any; only one does."""
    (vocabulary, store), ids = large
    size = store.stat("v.parquet").size
    before = store.bytes_read["v.parquet"]
    matches, groups = vocabulary.with_ids([ids[512]], 2)
    assert found(matches) == [(0, ids[512], 512, None)]
    assert len(groups) == 100
    assert store.bytes_read["v.parquet"] - before < size * 0.75


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize(
    "ids",
    [
        pa.array([-5, 0, 2**62, 7]),
        pa.array([0, 5, 2**63, 2**64 - 1], pa.uint64()),
        pa.array([0, 1, 200, 255], pa.uint8()),
        pa.array(["", "a", "é" * 100, "z" * 3000]),
        pa.array(["", "a", "b", "b\u20ac"]).dictionary_encode(),
        pa.array([b"", b"\x00", b"\xff" * 80, b"a"]),
        pa.array([struct.pack(">Q", i) for i in (0, 1, 2**63, 2**64 - 1)], pa.binary(8)),
    ],
    ids=lambda array: str(array.type),
)
def test_each_id_is_found_whatever_its_type(ids, statistics):
    vocabulary, _ = searched(
        {"id": ids, "row": [3, 2, 1, 0], "count": [9, 8, 7, 6]}, row_group_size=1, write_statistics=statistics
    )
    values = [value.encode() if isinstance(value, str) else value for value in ids.to_pylist()]
    for index, value in enumerate(values):
        matches, groups = vocabulary.with_ids([value], 1)
        assert found(matches) == [(0, value, 3 - index, 9 - index)]
        assert len(groups) == (1 if statistics else 4)
    absent = [2**61] if isinstance(values[0], int) else [b"absent"]
    assert vocabulary.with_ids(absent, 1)[0] == []


def test_every_record_of_an_id_or_row_that_stands_twice_is_found():
    vocabulary, _ = searched({"id": [5, 6, 5], "row": [0, 1, 1]}, row_group_size=2)
    assert found(vocabulary.with_ids([5], 2)[0]) == [(0, 5, 0, None), (0, 5, 1, None)]
    assert found(vocabulary.with_rows([1], 2)[0]) == [(0, 6, 1, None), (0, 5, 1, None)]


def test_records_without_an_id_are_passed_over():
    vocabulary, _ = searched({"id": [None, 6], "row": [1, 1]})
    assert found(vocabulary.with_rows([1], 1)[0]) == [(0, 6, 1, None)]


def test_a_damaged_file_is_refused():
    uri = put("memory://lookup-damaged/v.parquet", parquet_bytes({"id": [1], "row": [1]})[:-9])
    with pytest.raises(EmbsnapError) as caught:
        open_vocabulary(uri)
    assert caught.value.kind is ErrorKind.BAD_PARQUET

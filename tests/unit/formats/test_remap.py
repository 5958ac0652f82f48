"""Row maps as parquet, ours and anybody's."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, RefusedError, SnapshotError
from embsnap.formats.remap import read_remap, write_remap
from embsnap.formats.remap_metadata import METADATA_KEY
from embsnap.model.findings import Severity
from embsnap.model.remap import NOT_LISTED, RemapOrigin
from embsnap.model.vocabulary import IdType
from embsnap.storage.uri import open_store
from embsnap.testing.vocabularies import ids_of, parquet_bytes, put

_numbers = itertools.count()


@pytest.fixture
def root():
    return f"memory://remap{next(_numbers)}"


def stored(root, name="map.parquet", metadata=None, **columns):
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({METADATA_KEY: metadata})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return put(f"{root}/{name}", sink.getvalue().to_pybytes())


def read(uri, num_new_rows=6, num_old_rows=5, **options):
    return read_remap(uri, num_new_rows=num_new_rows, num_old_rows=num_old_rows, **options)


def refused(uri, **sizes):
    with pytest.raises(IncompatibleError) as error:
        read(uri, **sizes)
    return error.value


def errors(remap):
    return [finding for finding in remap.findings if finding.severity is Severity.ERROR]


@pytest.mark.parametrize("id_type", list(IdType))
def test_what_is_written_is_read(root, id_type):
    values = [7, 8, 9] if id_type in (IdType.INT64, IdType.UINT64) else [b"a", b"", b"cc"]
    origin = RemapOrigin("v1:a", "v1:b", 5, 6, {"tool": "embsnap"})
    new_rows, old_rows = np.array([0, 2, 5]), np.array([4, -1, 0])
    uri = write_remap(
        f"{root}/map.parquet", new_rows, old_rows, origin=origin, ids=ids_of(values, id_type), id_type=id_type
    )
    remap = read(uri)
    assert remap.row_V.tolist() == [4, NOT_LISTED, -1, NOT_LISTED, NOT_LISTED, 0]
    assert (remap.origin, remap.id_column, remap.findings) == (origin, "id", ())
    table = pq.read_table(pa.BufferReader(open_store(root).read("map.parquet", limit=1 << 20)))
    assert table["old_row"].to_pylist() == [4, None, 0]
    assert table["new_row"].to_pylist() == [0, 2, 5]


def test_a_directory_of_its_own(root):
    uri = write_remap(f"{root}/map", np.array([0]), np.array([1]), origin=RemapOrigin())
    assert uri == f"{root}/map/part-00000.parquet"
    assert read(f"{root}/map").row_V[0] == 1
    with pytest.raises(RefusedError) as error:
        write_remap(f"{root}/map", np.array([0]), np.array([1]), origin=RemapOrigin())
    assert error.value.kind is ErrorKind.DESTINATION_TAKEN


@pytest.mark.parametrize("arrow_type", [pa.int8(), pa.uint16(), pa.int32(), pa.uint64(), pa.int64()], ids=str)
def test_any_integers_in_any_order_from_many_files(root, arrow_type):
    stored(root, "a.parquet", new_row=pa.array([5, 0], arrow_type), old_row=pa.array([None, 3], arrow_type))
    stored(root, "b.parquet", old_row=pa.array([1], arrow_type), other=["x"], new_row=pa.array([2], arrow_type))
    remap = read(root, threads=2)
    assert remap.row_V.tolist() == [3, NOT_LISTED, 1, NOT_LISTED, NOT_LISTED, -1]
    assert (remap.origin, remap.id_column, remap.findings) == (None, None, ())


def test_minus_one_is_no_old_row(root):
    assert read(stored(root, NEW_ROW=[1], Old_Row=[-1])).row_V.tolist()[:2] == [NOT_LISTED, -1]


def test_nulls_among_many(root):
    new = np.random.default_rng(0).permutation(200_000)
    old = [None if row % 3 == 0 else int(row) for row in new]
    remap = read(stored(root, new_row=new, old_row=old), num_new_rows=200_000, num_old_rows=200_000)
    rows = np.arange(200_000)
    np.testing.assert_array_equal(remap.row_V, np.where(rows % 3 == 0, -1, rows))


def test_rows_beyond_either_table(root):
    uri = stored(
        root, new_row=pa.array([6, 2**63, 1, 2], pa.uint64()), old_row=pa.array([0, 0, 5, 2**64 - 1], pa.uint64())
    )
    remap = read(uri)
    new, old = errors(remap)
    assert (new.kind, new.count, new.place) == ("row-out-of-range", 2, uri)
    assert new.examples == ("new_row 6", "new_row beyond int64")
    assert "table of 6 rows" in new.message
    assert (old.kind, old.count) == ("row-out-of-range", 2)
    assert old.examples == ("old_row 5", "old_row beyond int64")
    assert "table of 5 rows" in old.message
    assert remap.row_V.tolist() == [NOT_LISTED, -1, -1, NOT_LISTED, NOT_LISTED, NOT_LISTED]


def test_negative_rows(root):
    found = errors(read(stored(root, new_row=[-1, 0], old_row=[0, -2])))
    assert [finding.examples for finding in found] == [("new_row -1",), ("old_row -2",)]


def test_a_new_row_twice(root):
    stored(root, "a.parquet", new_row=[0, 1], old_row=[0, 1])
    stored(root, "b.parquet", new_row=[1], old_row=[2])
    remap = read(root)
    (error,) = errors(remap)
    assert (error.kind, error.count, error.examples) == ("duplicate-rows", 1, ("new_row 1",))
    assert remap.row_V.tolist()[:2] == [0, 1]


def test_an_old_row_twice_is_noted(root):
    (note,) = read(stored(root, new_row=[0, 1, 2], old_row=[3, 3, 4])).findings
    assert (note.severity, note.kind, note.count, note.examples) == (
        Severity.NOTE,
        "shared-old-rows",
        1,
        ("old_row 3",),
    )


def test_weights_of_one_are_no_merge(root):
    assert read(stored(root, new_row=[0, 1], old_row=[1, None], weight=[1.0, None])).row_V[0] == 1


@pytest.mark.parametrize(
    ("new_row", "weight", "problem"),
    [([0, 1], [0.5, 1.0], "weighs old rows"), ([0, 0], [1.0, 1.0], "names several old rows for one new row")],
)
def test_merges_are_refused(root, new_row, weight, problem):
    error = refused(stored(root, new_row=new_row, old_row=[1, 2], weight=weight))
    assert error.kind is ErrorKind.BAD_ROW_MAP
    assert problem in error.problem
    assert "not supported" in error.problem
    assert "largest weight" in error.hint


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"new_row": [0]}, "has no column old_row"),
        ({"a": [0], "b": [0]}, "has no column new_row and no column old_row"),
        ({"new_row": [0.0], "old_row": [0]}, "column new_row holds no integers"),
        ({"new_row": [0, 1], "old_row": [0.0, None]}, "column old_row holds no integers"),
        ({"new_row": [0, None], "old_row": [0, 1]}, "column new_row holds nulls"),
    ],
)
def test_what_is_no_row_map(root, columns, problem):
    uri = stored(root, **columns)
    error = refused(uri)
    assert (error.kind, error.where, error.problem) == (ErrorKind.BAD_ROW_MAP, uri, problem)


def test_files_must_agree(root):
    stored(root, "a.parquet", new_row=[0], old_row=[0])
    uri = stored(root, "b.parquet", new_row=[0], old=[0])
    error = refused(root)
    assert (error.kind, error.where) == (ErrorKind.BAD_ROW_MAP, uri)


def test_nothing_is_there(root):
    with pytest.raises(NotFoundError) as error:
        read(f"{root}/none.parquet")
    assert error.value.problem == "there is no row map"


def test_a_damaged_file(root):
    with pytest.raises(SnapshotError) as error:
        read(put(f"{root}/map.parquet", parquet_bytes({"new_row": [0], "old_row": [0]})[:-9]))
    assert error.value.kind is ErrorKind.BAD_PARQUET


@pytest.mark.parametrize(("sizes", "side"), [({"num_new_rows": 7}, "new"), ({"num_old_rows": 6}, "old")])
def test_made_for_other_tables(root, sizes, side):
    uri = write_remap(
        f"{root}/map.parquet", np.array([0]), np.array([0]), origin=RemapOrigin(num_old_rows=5, num_new_rows=6)
    )
    (error,) = errors(read(uri, **sizes))
    assert error.kind == "shape-mismatch"
    assert f"{side} rows" in error.message


@pytest.mark.parametrize(
    "metadata",
    [
        b"\xff",
        b"[]",
        b'{"version": 2}',
        b'{"version": 1, "old_fingerprint": 3}',
        b'{"version": 1, "num_new_rows": -1}',
        b'{"version": 1, "num_new_rows": true}',
        b'{"version": 1, "provenance": []}',
        b"[" * 100_000,
    ],
)
def test_foreign_metadata_is_noted(root, metadata):
    remap = read(stored(root, metadata=metadata, new_row=[0], old_row=[0]))
    assert remap.origin is None
    assert [(finding.severity, finding.kind) for finding in remap.findings] == [(Severity.NOTE, "odd-metadata")]


def test_files_that_say_different_things(root):
    for name, number in (("a.parquet", 5), ("b.parquet", 6)):
        metadata = json.dumps({"version": 1, "num_old_rows": number}).encode()
        stored(root, name, metadata=metadata, new_row=[number - 5], old_row=[0])
    remap = read(root)
    assert remap.origin is None
    assert [finding.kind for finding in remap.findings if finding.kind != "shared-old-rows"] == ["odd-metadata"]

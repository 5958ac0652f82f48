"""What a written vocabulary says about itself, and what becomes of metadata that nobody understands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.errors import IncompatibleError, RefusedError
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_metadata import METADATA_KEY, decode_declared, encode_declared
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.findings import Severity
from embsnap.model.vocabulary import NEVER_SEEN, Declared
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.testing.vocabularies import make_vocabulary, parquet_bytes, put

RANGE = st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda pair: tuple(sorted(pair)))
DECLARED = st.builds(
    Declared,
    fingerprint=st.none() | st.text(),
    num_rows=st.integers(0, 2**62),
    reserved=st.lists(RANGE).map(tuple),
    free=st.lists(RANGE).map(tuple),
    oov=st.none() | RANGE,
    provenance=st.dictionaries(st.text(), st.text() | st.integers()),
)


@given(DECLARED)
def test_encoded_then_decoded_is_the_same(declared: Declared) -> None:
    assert decode_declared(encode_declared(declared)) == declared


@pytest.mark.parametrize("rows", [{"reserved": ((0, 1),)}, {"free": ((2, 3),)}, {"oov": (1, 2)}])
def test_rows_are_declared_together_with_their_number(rows) -> None:
    with pytest.raises(ValueError, match="not how many"):
        encode_declared(Declared(**rows))


def test_all_that_is_written_is_read_back(tmp_path) -> None:
    declared = Declared(num_rows=9, reserved=((0, 1),), free=((5, 9),), oov=(1, 3), provenance={"tool": "a test"})
    times = np.array([7, NEVER_SEEN], np.int64)
    vocabulary = replace(
        make_vocabulary(["a", "b"], [3, 4]),
        declared=declared,
        last_seen_N=times,
        last_seen_type="timestamp[ms, tz=UTC]",
    )
    uri = write_vocabulary(vocabulary, f"{tmp_path}/v")
    read = read_vocabulary(uri)
    assert read.declared == replace(declared, fingerprint=fingerprint_of(vocabulary))
    assert read.last_seen_N.tolist() == times.tolist()
    assert read.last_seen_type == "timestamp[ms, tz=UTC]"
    assert pq.read_table(uri)["last_seen"].null_count == 1
    assert read.findings == ()


def test_the_fingerprint_is_that_of_what_is_written(tmp_path) -> None:
    stale = replace(make_vocabulary([1]), declared=Declared(fingerprint="v1:stale"))
    read = read_vocabulary(write_vocabulary(stale, f"{tmp_path}/v"))
    assert read.declared == Declared(fingerprint=fingerprint_of(stale))


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"\xff",
        b"[]",
        b'{"version":2}',
        b'{"version":1,"fingerprint":3}',
        b'{"version":1,"num_rows":-1}',
        b'{"version":1,"num_rows":true}',
        b'{"version":1,"num_rows":9223372036854775808}',
        b'{"version":1,"reserved":[[3,1]]}',
        b'{"version":1,"reserved":7}',
        b'{"version":1,"oov":[1]}',
        b'{"version":1,"provenance":[1]}',
        b"[" * 100_000,
    ],
)
def test_metadata_that_is_not_understood_is_noted(data: bytes) -> None:
    uri = f"memory://odd/{abs(hash(data))}.parquet"
    table = pa.table({"id": [1], "row": [0]}).replace_schema_metadata({METADATA_KEY: data})
    put(uri, _file(table))
    read = read_vocabulary(uri)
    assert read.declared is None
    assert [(finding.kind, finding.severity) for finding in read.findings] == [("odd-metadata", Severity.NOTE)]


def _file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_files_that_declare_different_things(tmp_path) -> None:
    for number in range(2):
        write_vocabulary(make_vocabulary([number], [number]), f"{tmp_path}/{number}.parquet")
    read = read_vocabulary(str(tmp_path))
    assert read.declared is None
    assert [finding.kind for finding in read.findings] == ["odd-metadata"]


def test_foreign_files_declare_nothing() -> None:
    put("memory://foreign/a.parquet", parquet_bytes({"id": [1], "row": [0]}))
    read = read_vocabulary("memory://foreign/a.parquet")
    assert (read.declared, read.findings) == (None, ())


@pytest.mark.parametrize(
    ("times", "time_type", "expected"),
    [
        (pa.array([3, None], pa.int32()), "int64", [3, NEVER_SEEN]),
        (pa.array([3, None], pa.timestamp("us")), "timestamp[us]", [3, NEVER_SEEN]),
        (pa.array([1, None], pa.date32()), "timestamp[s]", [86_400, NEVER_SEEN]),
    ],
    ids=str,
)
def test_times_of_other_writers(times: pa.Array, time_type: str, expected: list[int]) -> None:
    uri = f"memory://times/{time_type}.parquet"
    put(uri, parquet_bytes({"id": [1, 2], "row": [0, 1], "Last_Seen": times}))
    read = read_vocabulary(uri)
    assert (read.last_seen_type, read.last_seen_N.tolist()) == (time_type, expected)


def test_times_that_are_none(tmp_path) -> None:
    put("memory://times/none.parquet", parquet_bytes({"id": [1], "row": [0], "last_seen": ["x"]}))
    with pytest.raises(IncompatibleError, match="times"):
        read_vocabulary("memory://times/none.parquet")


def test_a_directory_that_holds_something_is_refused(tmp_path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "other.parquet").write_bytes(b"")
    with pytest.raises(RefusedError, match=r"other\.parquet"):
        write_vocabulary(make_vocabulary([1]), f"{tmp_path}/v")
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["other.parquet"]

"""Events that lie in no local file are counted as if they did."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.errors import ErrorKind, SnapshotError, StorageError
from embsnap.formats import event_files
from embsnap.formats.event_files import EventColumns
from embsnap.formats.events import Engine, Stratum, count_ids
from embsnap.formats.vocabulary_files import FoundFiles
from embsnap.storage.memory import MemoryStore
from embsnap.storage.wrappers import WrapperStore
from embsnap.testing.vocabularies import listed, parquet_bytes, put

UUIDS = [bytes(range(16)), bytes(range(1, 17)), bytes(range(16))]
_numbers = count()


@pytest.fixture
def remote() -> str:
    return f"memory://events{next(_numbers)}"


def both(tmp_path, remote, tables, columns, **options):
    """The same tables counted from a local directory and from elsewhere: what was found, as plain values."""
    for number, table in enumerate(tables):
        data = parquet_bytes(table)
        (tmp_path / f"{number}.parquet").write_bytes(data)
        put(f"{remote}/{number}.parquet", data)
    found = [count_ids([uri], columns, **options) for uri in (str(tmp_path), remote)]
    return [
        (
            listed(one.ids),
            one.counts_N.tolist(),
            None if one.last_seen_N is None else one.last_seen_N.tolist(),
            (one.id_type, one.last_seen_type, one.num_events, one.num_distinct, one.num_nulls, one.num_records),
        )
        for one in found
    ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3, -1, 3, None], pa.int16()),
        pa.array([2**64 - 1, 7, 7, 1], pa.uint64()),
        pa.array(["é", "Z", "a", None]),
        pa.array(["b", "a", "b", "c"]).dictionary_encode(),
        pa.array([b"\xff\0", b"", b"", b"x"]),
        pa.array([b"ab", b"aa", b"ab", b"zz"], pa.binary(2)),
        pa.array([*UUIDS, None], pa.uuid()),
        pa.array([[1, 2], [], [2], None]),
        pa.array([["x"], None, ["x", "y"], []], pa.large_list(pa.string())),
        pa.array([[1, 2], [3, 2], [2, 2], [9, 9]], pa.list_(pa.int32(), 2)),
    ],
    ids=lambda array: str(array.type),
)
def test_ids_of_every_type(tmp_path, remote, column):
    local, elsewhere = both(tmp_path, remote, [{"id": column}], EventColumns(("id",)))
    assert elsewhere == local
    assert local[0]


@pytest.mark.parametrize(
    "times",
    [
        [5, 2**40, None, 7],
        pa.array([1, 2, 3, None], pa.timestamp("ms")),
        pa.array([datetime(2024, 3, day, tzinfo=UTC) for day in (1, 2, 3, 4)], pa.timestamp("us", "UTC")),
        pa.array([1, 2, 3, 4], pa.timestamp("ns")),
        [date(2024, 3, day) for day in (1, 2, 3, 4)],
    ],
    ids=lambda times: str(times.type) if isinstance(times, pa.Array) else str(type(times[0])),
)
def test_times_and_counts(tmp_path, remote, times):
    table = {"id": [1, 1, 2, 3], "count": pa.array([1, 2, 3, 4], pa.int8()), "at": times}
    local, elsewhere = both(tmp_path, remote, [table], EventColumns(("id",), count="count", time="at"))
    assert elsewhere == local
    assert local[1] == [4, 3, 3]


def test_several_columns_of_several_files_with_a_stratum(tmp_path, remote):
    """Files differ in width of their integers and in the order of their columns."""
    rng = np.random.default_rng(0)
    tables = [
        {
            "viewed": pa.array([rng.integers(0, 50, 3).tolist() for _ in range(400)], pa.list_(kind)),
            "flags": pa.array([[number % 2] for number in range(400)], pa.list_(pa.int64())),
            "bought": pa.array(rng.integers(0, 50, 400), kind),
        }
        for kind in (pa.int32(), pa.int64(), pa.uint8())
    ]
    tables[1] = dict(reversed(tables[1].items()))
    columns, stratum = EventColumns(("viewed", "bought")), Stratum("flags", 0, 1)
    local, elsewhere = both(tmp_path, remote, tables[:2], columns, stratum=stratum)
    assert elsewhere == local
    assert sum(local[1]) == 2 * 200 * 4


def test_more_row_groups_than_readers(remote):
    ids = np.random.default_rng(0).integers(0, 1000, 20_000)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ids, "other": ids}), sink, row_group_size=500)
    put(f"{remote}/a.parquet", sink.getvalue().to_pybytes())
    found = count_ids([remote], EventColumns(("id",)), engine=Engine(threads=2))
    expected = dict(zip(*np.unique(ids, return_counts=True), strict=True))
    assert dict(zip(found.ids.tolist(), found.counts_N.tolist(), strict=True)) == expected


def test_progress_is_told_all_records(remote):
    told = []

    class Listener:
        def start(self, task, total, unit="B"):
            told.append(total)

        def advance(self, task, amount):
            told.append(amount)

        def finish(self, task):
            told.append("over")

    put(f"{remote}/a.parquet", parquet_bytes({"id": range(1000)}))
    count_ids([remote], EventColumns(("id",)), progress=Listener())
    assert (told[0], sum(told[1:-1]), told[-1]) == (1000, 1000, "over")


def test_a_damaged_file_is_named_and_no_thread_stays(remote):
    data = bytearray(parquet_bytes({"id": np.random.default_rng(0).integers(0, 2**60, 5000)}))
    data[4:3000] = bytes(2996)
    put(f"{remote}/a.parquet", bytes(data))
    with pytest.raises(SnapshotError) as raised:
        count_ids([remote], EventColumns(("id",)))
    assert raised.value.kind is ErrorKind.BAD_PARQUET
    assert f"{remote}/a.parquet" in str(raised.value)
    idle = "embsnap-blocking"  # of the storage, which keeps them for its next requests
    assert not [thread.name for thread in threading.enumerate() if "embsnap" in thread.name and thread.name != idle]


class _Failing(WrapperStore):
    """Gives a file's footer; then the storage is gone."""

    def __init__(self, inner):
        super().__init__(inner)
        self.num_reads = 0

    def map(self, location):
        return None

    def read_ranges(self, location, requests):
        self.num_reads += 1
        if self.num_reads > 1:
            raise StorageError(ErrorKind.TIMED_OUT, "did not finish", where=f"{self.uri}/{location}")
        self.inner.read_ranges(location, requests)


def test_the_storages_own_error_comes_out(remote, monkeypatch):
    put(f"{remote}/a.parquet", parquet_bytes({"id": range(100)}))
    failing = FoundFiles(_Failing(MemoryStore(remote)), ("a.parquet",))
    monkeypatch.setattr(event_files, "find_parquet", lambda uri, options, problem: failing)
    with pytest.raises(StorageError, match="did not finish") as raised:
        count_ids([remote], EventColumns(("id",)))
    assert raised.value.kind is ErrorKind.TIMED_OUT

"""Counting ids in event logs of any make, against a Counter."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, SnapshotError, UsageError
from embsnap.formats import counted_ids
from embsnap.formats.counted_ids import Cut
from embsnap.formats.event_files import EventColumns
from embsnap.formats.events import Engine, Stratum, count_ids
from embsnap.model.vocabulary import NEVER_SEEN, IdType
from embsnap.testing.vocabularies import listed

UUIDS = [bytes(range(16)), bytes(range(1, 17)), bytes(range(16))]


def write(path: Path, **columns: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return str(path)


def counts(uri: str, *names: str, **options: object) -> list[tuple[object, int]]:
    found = count_ids([uri], EventColumns(names), **options)
    return list(zip(listed(found.ids), found.counts_N.tolist(), strict=True))


@pytest.mark.parametrize(
    ("column", "id_type", "expected"),
    [
        (pa.array([3, -1, 3], pa.int16()), IdType.INT64, [(3, 2), (-1, 1)]),
        (pa.array([2**64 - 1, 7, 7], pa.uint64()), IdType.UINT64, [(7, 2), (2**64 - 1, 1)]),
        (pa.array(["é", "Z", "a"]), IdType.STRING, [(b"Z", 1), (b"a", 1), ("é".encode(), 1)]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), IdType.STRING, [(b"b", 2), (b"a", 1)]),
        (pa.array([b"\xff\0", b"", b""]), IdType.BINARY, [(b"", 2), (b"\xff\0", 1)]),
        (pa.array([b"ab", b"aa", b"ab"], pa.binary(2)), IdType.BINARY, [(b"ab", 2), (b"aa", 1)]),
        (pa.array(UUIDS, pa.uuid()), IdType.BINARY, [(UUIDS[0], 2), (UUIDS[1], 1)]),
        (pa.array([[1, 2], [], [2]]), IdType.INT64, [(2, 2), (1, 1)]),
        (pa.array([["x"], None, ["x", "y"]], pa.large_list(pa.string())), IdType.STRING, [(b"x", 2), (b"y", 1)]),
        (pa.array([[1, 2], [3, 2], [2, 2]], pa.list_(pa.int32(), 2)), IdType.INT64, [(2, 4), (1, 1), (3, 1)]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_types(tmp_path: Path, column: pa.Array, id_type: IdType, expected: object) -> None:
    uri = write(tmp_path / "a.parquet", id=column)
    assert counts(uri, "id") == expected
    assert count_ids([uri], EventColumns(("id",))).id_type is id_type


@pytest.mark.parametrize("large_run", [2, 1000])
def test_many_files_several_columns_and_nulls_against_a_counter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, large_run: int
) -> None:
    monkeypatch.setattr(counted_ids, "_LARGE_RUN", large_run)
    chance = random.Random(0)
    expected, num_nulls = Counter[int](), 0
    for day in range(5):
        one = [chance.choice([None, *range(50)]) for _ in range(400)]
        many = [[chance.choice([None, *range(80)]) for _ in range(chance.randrange(4))] for _ in range(400)]
        write(tmp_path / f"day={day}" / "log[1].parquet", viewed=pa.array(one, pa.int32()), bought=many)
        values = [*one, *(value for values in many for value in values)]
        num_nulls += values.count(None)
        expected.update(value for value in values if value is not None)
    found = count_ids([str(tmp_path)], EventColumns(("viewed", "bought")), engine=Engine(threads=2))
    order = sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))
    assert list(zip(listed(found.ids), found.counts_N.tolist(), strict=True)) == order
    assert (found.num_nulls, found.num_events) == (num_nulls, expected.total())
    assert (found.num_records, found.num_files) == (2000, 5)


def test_what_is_cut_is_tallied(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.parquet", id=[1] * 5 + [2] * 3 + [3] * 3 + [4] * 2 + [5])
    found = count_ids([uri], EventColumns(("id",)), cut=Cut(min_count=2, max_size=2))
    assert listed(found.ids) == [1, 2]
    assert (found.rare.ids, found.rare.events) == (1, 1)
    assert (found.beyond.ids, found.beyond.events) == (2, 5)
    assert (found.num_distinct, found.num_events) == (5, 14)


@pytest.mark.parametrize(
    ("times", "time_type", "expected"),
    [
        (pa.array([5, 9, 7], pa.uint16()), "int64", [9, 7]),
        (pa.array([5, 9, 7], pa.timestamp("ms")), "timestamp[us]", [9000, 7000]),
        (pa.array([5, 9, 7], pa.timestamp("us", "Europe/Oslo")), "timestamp[us, tz=UTC]", [9, 7]),
        (pa.array([5, 9, 7], pa.timestamp("ns")), "timestamp[ns]", [9, 7]),
        (pa.array([date(1970, 1, 1), date(1970, 1, 2), None]), "timestamp[us]", [86_400_000_000, NEVER_SEEN]),
    ],
    ids=str,
)
def test_the_latest_time(tmp_path: Path, times: pa.Array, time_type: str, expected: list[int]) -> None:
    uri = write(tmp_path / "a.parquet", id=[1, 1, 2], at=times)
    found = count_ids([uri], EventColumns(("id",), time="at"))
    assert found.last_seen_type == time_type
    assert found.last_seen_N is not None
    assert found.last_seen_N.tolist() == expected


def test_counts_in_a_column_are_summed(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.parquet", id=[1, 2, 1, 3], seen=[4, 1, 2, 0])
    found = count_ids([uri], EventColumns(("id",), count="seen"), cut=Cut(min_count=0))
    assert listed(found.ids) == [1, 2, 3]
    assert found.counts_N.tolist() == [6, 1, 0]


def test_only_one_stratum(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.parquet", id=[1, 2, 3, 4], features=[[0, 7], [0, 8], [7], None])
    assert counts(uri, "id", stratum=Stratum("features", 1, 7)) == [(1, 1)]


def test_files_of_different_widths_fit_together(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", id=pa.array([1], pa.int8()))
    write(tmp_path / "b.parquet", other=["x"], id=pa.array([2**40], pa.int64()))
    assert counts(str(tmp_path), "id") == [(1, 1), (2**40, 1)]


def test_what_does_not_fit_in_memory_spills(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    rng = np.random.default_rng(0)
    ids = rng.permutation(3_000_000)
    uri = write(tmp_path / "a.parquet", id=ids)
    found = count_ids(
        [uri], EventColumns(("id",)), engine=Engine(memory_bytes=64 << 20, threads=2, spill_directory=str(spill))
    )
    assert len(found) == len(ids)
    np.testing.assert_array_equal(found.ids, np.arange(len(ids)))
    assert list(spill.iterdir()) == []


def test_progress_is_told_all_records(tmp_path: Path) -> None:
    told: list[object] = []

    class Listener:
        def start(self, task: str, total: int, unit: str = "B") -> None:
            told.append(total)

        def advance(self, task: str, amount: int) -> None:
            told.append(amount)

        def finish(self, task: str) -> None:
            told.append("over")

    uri = write(tmp_path / "a.parquet", id=range(1000))
    count_ids([uri], EventColumns(("id",)), progress=Listener())
    assert told[0] == 1000
    assert sum(told[1:-1]) == 1000
    assert told[-1] == "over"


def refuse(error: type[Exception], kind: ErrorKind, uris: list[str], columns: EventColumns, **options: object) -> str:
    with pytest.raises(error) as raised:
        count_ids(uris, columns, **options)
    assert raised.value.kind is kind
    return str(raised.value)


def test_what_is_refused(tmp_path: Path) -> None:
    numbers = write(tmp_path / "numbers.parquet", id=[1], at=["x"], count=[-1], f=[1])
    texts = write(tmp_path / "texts.parquet", id=["1"], names=[["a"]])
    lists = write(tmp_path / "lists.parquet", id=[[1]])
    twins = write(tmp_path / "twins.parquet", id=[1], ID=[2])
    one = EventColumns(("id",))
    bad = ErrorKind.BAD_VOCABULARY
    assert "names no files" in refuse(UsageError, ErrorKind.BAD_OPTION, [], one)
    assert "names no column" in refuse(UsageError, ErrorKind.BAD_OPTION, [numbers], EventColumns(()))
    assert "names a column twice" in refuse(UsageError, ErrorKind.BAD_OPTION, [numbers], EventColumns(("id", "id")))
    assert "named twice" in refuse(UsageError, ErrorKind.BAD_OPTION, [numbers, str(tmp_path / "num*")], one)
    assert texts in refuse(IncompatibleError, ErrorKind.ID_TYPE_MISMATCH, [numbers, texts], one)
    assert lists in refuse(IncompatibleError, bad, [numbers, lists], one)
    assert "no column 'who'" in refuse(IncompatibleError, bad, [numbers], EventColumns(("who",)))
    assert "upper or lower" in refuse(IncompatibleError, bad, [twins], one)
    assert "times" in refuse(IncompatibleError, bad, [numbers], EventColumns(("id",), time="at"))
    assert "integers" in refuse(IncompatibleError, bad, [numbers], EventColumns(("id",), count="at"))
    assert "below 0" in refuse(IncompatibleError, bad, [numbers], EventColumns(("id",), count="count"))
    assert "lists" in refuse(IncompatibleError, bad, [numbers], one, stratum=Stratum("f", 0, 1))
    assert "lists of integers" in refuse(IncompatibleError, bad, [texts], one, stratum=Stratum("names", 0, 1))
    assert "too small" in refuse(UsageError, ErrorKind.BAD_OPTION, [numbers], one, engine=Engine(memory_bytes=1))
    refuse(NotFoundError, ErrorKind.NO_SUCH_OBJECT, [str(tmp_path / "none")], one)


@pytest.mark.parametrize("columns", [EventColumns(("id",), time="at"), EventColumns(("id",), count="at")], ids=str)
def test_numbers_beyond_64_bits_are_no_damage(tmp_path: Path, columns: EventColumns) -> None:
    uri = write(tmp_path / "a.parquet", id=[1, 1], at=pa.array([2**63, 1], pa.uint64()))
    assert uri in refuse(IncompatibleError, ErrorKind.BAD_VOCABULARY, [uri], columns)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.parquet", id=np.random.default_rng(0).integers(0, 2**60, 5000)))
    data = bytearray(path.read_bytes())
    data[4:3000] = bytes(2996)
    path.write_bytes(data)
    assert str(path) in refuse(SnapshotError, ErrorKind.BAD_PARQUET, [str(path)], EventColumns(("id",)))


def test_nowhere_to_spill(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.parquet", id=[1])
    engine = Engine(spill_directory=str(tmp_path / "none"))
    assert "--temp-directory" in refuse(UsageError, ErrorKind.BAD_OPTION, [uri], EventColumns(("id",)), engine=engine)


def test_no_room_to_spill(tmp_path: Path) -> None:
    """The ids do not fit in memory, and no file may grow large."""
    uri = write(tmp_path / "a.parquet", id=np.random.default_rng(0).permutation(4_000_000))
    code = (
        "import resource, sys\n"
        "from embsnap.errors import StorageError\n"
        "from embsnap.formats.events import Engine, EventColumns, count_ids\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "engine = Engine(memory_bytes=64 << 20, threads=2, spill_directory=sys.argv[2])\n"
        "try:\n"
        "    count_ids([sys.argv[1]], EventColumns(('id',)), engine=engine)\n"
        "except StorageError as error:\n"
        "    print(error.kind.value)\n"
    )
    command = [sys.executable, "-c", code, uri, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() in ("disk-full", "storage-failed")

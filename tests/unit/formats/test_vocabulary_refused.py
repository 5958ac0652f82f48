"""Vocabularies that cannot be: what the error says about them."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.errors import EmbsnapError, ErrorKind, IncompatibleError, SnapshotError
from embsnap.formats.vocabulary import VocabularyColumns, read_vocabulary
from embsnap.testing.vocabularies import dictionary_bomb, listed, parquet_bytes, put, run_bomb

IDS = {"id": [1, 2], "row": [0, 1]}


def refuse(tmp_path: Path, data: bytes, **options: object) -> IncompatibleError:
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(IncompatibleError) as error:
        read_vocabulary(str(tmp_path / "a.parquet"), **options)  # type: ignore[arg-type]
    return error.value


@pytest.mark.parametrize("name", ["id", "ID", "entity_id", "entity", "key", "raw_id", "value"])
def test_usual_names_of_ids(name: str) -> None:
    uri = put(f"memory://names/id-{name}", parquet_bytes({name: [1, 2], "row": [0, 1]}))
    assert listed(read_vocabulary(uri).ids) == [1, 2]


@pytest.mark.parametrize(
    "name", ["row", "Row", "row_index", "row_id", "index", "idx", "table_index", "embedding_index"]
)
def test_usual_names_of_rows(name: str) -> None:
    uri = put(f"memory://names/row-{name}", parquet_bytes({"id": [1, 2], name: [5, 6]}))
    assert read_vocabulary(uri).rows_N.tolist() == [5, 6]


@pytest.mark.parametrize("name", ["count", "counts", "freq", "frequency", "num_observed"])
def test_usual_names_of_counts(name: str) -> None:
    uri = put(f"memory://names/count-{name}", parquet_bytes({**IDS, name: [5, 6]}))
    counts_N = read_vocabulary(uri).counts_N
    assert counts_N is not None
    assert counts_N.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"user": [1], "row": [0]}, "no column looks like the id column"),
        ({"id": [1], "place": [0]}, "no column looks like the row column"),
        ({"id": [1], "key": [1], "row": [0]}, "'id', 'key' all look like the id column"),
        ({"id": [1], "idx": [1], "row": [0]}, "'idx', 'row' all look like the row column"),
        ({**IDS, "count": [1, 1], "freq": [1, 1]}, "'count', 'freq' all look like the count column"),
    ],
)
def test_missing_and_ambiguous_columns(tmp_path: Path, columns: dict[str, list[int]], problem: str) -> None:
    error = refuse(tmp_path, parquet_bytes(columns))
    assert error.kind is ErrorKind.BAD_VOCABULARY
    assert error.problem == problem
    assert error.found == f"columns {', '.join(columns)}"
    assert error.hint is not None
    assert "vocab_columns" in error.hint


def test_given_column_that_is_not_there(tmp_path: Path) -> None:
    error = refuse(tmp_path, parquet_bytes(IDS), columns=VocabularyColumns(count="n"))
    assert error.problem == "has no column 'n'"
    error = refuse(tmp_path, parquet_bytes(IDS), columns=VocabularyColumns(id="user"))
    assert error.problem == "has no column 'user'"


def test_column_twice(tmp_path: Path) -> None:
    table = pa.table([pa.array([1]), pa.array([1]), pa.array([0])], names=["id", "id", "row"])
    pq.write_table(table, tmp_path / "x")
    error = refuse(tmp_path, (tmp_path / "x").read_bytes(), columns=VocabularyColumns(id="id"))
    assert error.problem == "has more than one column 'id'"


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1.0]),
        pa.array([True]),
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.array([1], pa.timestamp("us")),
        pa.array([None], pa.null()),
    ],
    ids=lambda ids: str(ids.type),
)
def test_types_that_are_no_ids_and_no_rows(tmp_path: Path, ids: pa.Array) -> None:
    error = refuse(tmp_path, parquet_bytes({"id": ids, "row": [0]}))
    assert error.kind is ErrorKind.BAD_VOCABULARY
    assert f"column 'id' is of type {ids.type}" in error.problem.replace("element", "item")
    error = refuse(tmp_path, parquet_bytes({"id": [0], "row": ids}))
    assert error.expected == "an integer type"


def test_files_of_different_id_types_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet_bytes(IDS))
    (tmp_path / "b.parquet").write_bytes(parquet_bytes({"id": ["1"], "row": [2]}))
    with pytest.raises(IncompatibleError) as error:
        read_vocabulary(str(tmp_path))
    assert error.value.kind is ErrorKind.ID_TYPE_MISMATCH
    assert error.value.where == f"{tmp_path}/b.parquet"
    assert error.value.expected == f"int64, as in {tmp_path}/a.parquet"
    assert error.value.found == "string (string)"


def test_a_file_without_the_column_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet_bytes({**IDS, "count": [1, 1]}))
    (tmp_path / "b.parquet").write_bytes(parquet_bytes(IDS))
    with pytest.raises(IncompatibleError, match=r"b\.parquet: has no column 'count'"):
        read_vocabulary(str(tmp_path))


@pytest.mark.parametrize("name", ["freq", "last_seen"])
def test_a_file_with_a_column_that_the_first_lacks(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet_bytes(IDS))
    (tmp_path / "b.parquet").write_bytes(parquet_bytes({**IDS, name: [1, 1]}))
    with pytest.raises(IncompatibleError, match=rf"b\.parquet: has a column '{name}', which .*a\.parquet lacks"):
        read_vocabulary(str(tmp_path))


def test_narrow_and_wide_integers_go_together(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet_bytes({"id": pa.array([1], pa.int32()), "row": [0]}))
    (tmp_path / "b.parquet").write_bytes(parquet_bytes({"id": [2**40], "row": pa.array([1], pa.uint8())}))
    assert listed(read_vocabulary(str(tmp_path)).ids) == [1, 2**40]


def test_donors_of_another_type(tmp_path: Path) -> None:
    error = refuse(tmp_path, parquet_bytes({**IDS, "like": ["a", "b"]}), donor_column="like")
    assert error.kind is ErrorKind.ID_TYPE_MISMATCH
    assert error.expected == "int64, as the ids in column 'id'"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("values", [[1, 2, 3, 4], ["a", "b", "c", "d"]], ids=["int64", "string"])
def test_nulls_are_counted_over_all_files(tmp_path: Path, values: list[object], threads: int) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet_bytes({"id": [*values, None], "row": range(5)}, row_group_size=2))
    second = {"row": pa.array([None] * 8, pa.int64()), "id": [None] * 7 + values[:1]}
    (tmp_path / "b.parquet").write_bytes(parquet_bytes(second))
    with pytest.raises(IncompatibleError) as error:
        read_vocabulary(str(tmp_path), threads=threads)
    assert error.value.kind is ErrorKind.BAD_VOCABULARY
    assert error.value.problem.endswith(": nulls in column 'id' (8), nulls in column 'row' (8)")
    found = str(error.value.found)
    assert found.startswith(f"null in row 4 of {tmp_path}/a.parquet, null in row 0 of {tmp_path}/b.parquet")
    assert found.count("null in row") == 10


def test_negative_rows(tmp_path: Path) -> None:
    rows = [0, -1, 2, -5, *range(4, 100)]
    error = refuse(tmp_path, parquet_bytes({"id": range(100), "row": rows}, row_group_size=3))
    assert error.problem.endswith(": values in column 'row' below 0 or beyond int64 (2)")
    path = f"{tmp_path}/a.parquet"
    assert error.found == f"-1 in row 1 of {path}, -5 in row 3 of {path}"


def test_rows_beyond_int64(tmp_path: Path) -> None:
    error = refuse(tmp_path, parquet_bytes({"id": [1, 2], "row": pa.array([0, 2**64 - 1], pa.uint64())}))
    assert error.problem.endswith(": values in column 'row' below 0 or beyond int64 (1)")
    assert error.found == f"18446744073709551615 in row 1 of {tmp_path}/a.parquet"


def test_times_beyond_int64(tmp_path: Path) -> None:
    seen = pa.array([7, None, 2**63], pa.uint64())
    error = refuse(tmp_path, parquet_bytes({"id": [1, 2, 3], "row": [0, 1, 2], "last_seen": seen}))
    assert "beyond int64" in error.problem
    assert str(2**63) in str(error)


def test_negative_counts(tmp_path: Path) -> None:
    error = refuse(tmp_path, parquet_bytes({**IDS, "count": [3, -1]}))
    assert "column 'count'" in error.problem


def test_more_than_fits_in_memory(tmp_path: Path) -> None:
    data = run_bomb(1_000_000)
    assert len(data) < 10_000
    error = refuse(tmp_path, data, memory_limit=1_000_000)
    assert "does not fit in memory" in error.problem
    assert error.expected == "at most 1,000,000 bytes of ids and rows"
    error = refuse(tmp_path, parquet_bytes({"id": ["x" * 1000], "row": [0]}), memory_limit=500)
    assert "does not fit in memory" in error.problem


def test_a_dictionary_bomb_is_not_set_off(tmp_path: Path) -> None:
    data = dictionary_bomb(num_rows=1_000_000, id_bytes=50_000_000)
    assert len(data) < 100_000
    error = refuse(tmp_path, data)
    assert error.problem == "column 'id' does not look like entity ids"
    assert error.found == "one of 50000000 bytes"


def test_many_long_ids_are_decoded_few_at_a_time(tmp_path: Path) -> None:
    error = refuse(tmp_path, dictionary_bomb(num_rows=100_000, id_bytes=60_000), memory_limit=100_000_000)
    assert "does not fit in memory" in error.problem


def test_one_long_id(tmp_path: Path) -> None:
    data = parquet_bytes({"id": ["a", "x" * 70_000], "row": [0, 1]}, use_dictionary=False)
    assert refuse(tmp_path, data).found == "one of 70000 bytes"


WHOLE = parquet_bytes({"id": [f"user{i}" for i in range(300)], "row": range(300)}, row_group_size=100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1",
        b"not a parquet file at all",
        b"PAR1" + bytes(64) + b"PAR1",
        WHOLE[:-1],
        WHOLE[:200],
        b"PARE" + WHOLE,
    ],
    ids=["empty", "magic", "text", "zeros", "cut by one", "cut early", "magic of encrypted files"],
)
def test_damaged_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "good.parquet").write_bytes(WHOLE)
    (tmp_path / "bad.parquet").write_bytes(data)
    with pytest.raises(SnapshotError) as error:
        read_vocabulary(str(tmp_path))
    assert error.value.kind is ErrorKind.BAD_PARQUET
    assert error.value.where == f"{tmp_path}/bad.parquet"
    assert error.value.found


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    data = parquet_bytes({"id": ["good", "baad"], "row": [0, 1]}, use_dictionary=False, compression="none")
    (tmp_path / "a.parquet").write_bytes(data.replace(b"baad", b"\xff\xfead"))
    with pytest.raises(SnapshotError, match="UTF8"):
        read_vocabulary(str(tmp_path))


def test_any_damage_is_an_error_of_ours_or_none() -> None:
    chance, kinds = random.Random(0), set()
    for number in range(300):
        data = bytearray(WHOLE)
        for _ in range(chance.choice((1, 2, 8))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        uri = put(
            f"memory://damage/{number}.parquet", bytes(data[: chance.choice((len(data), chance.randrange(2000)))])
        )
        try:
            kinds.add(len(read_vocabulary(uri, memory_limit=1 << 28)))
        except EmbsnapError as error:
            kinds.add(error.kind)
    assert ErrorKind.BAD_PARQUET in kinds

"""Which rows are exported, where to, and what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.errors import IncompatibleError, NotFoundError, RefusedError, StorageError, UsageError
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.exchange import ExchangeFormat
from embsnap.ops.export import sources, writing
from embsnap.ops.export.options import ExportOptions
from embsnap.ops.export.plan import plan_export
from embsnap.ops.export.writing import write_export
from embsnap.ops.importing.options import ImportOptions
from embsnap.ops.importing.plan import plan_import
from embsnap.ops.importing.writing import write_import
from embsnap.storage.uri import open_store
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary, parquet_bytes

VALUES = np.arange(40, dtype=np.float32).reshape(10, 4)


@pytest.fixture
def root(tmp_path):
    write_arrays(f"{tmp_path}/run", {"user": VALUES, "a b": VALUES[:3]})
    columns = {
        "id": ["a", "b", "c", "d", "e"],
        "row": [7, 2, 5, 0, 9],
        "count": [3, 40, 12, None, 9],
        "country": pa.array(["de", "at", None, "de", "us"]).dictionary_encode(),
        "seen": pa.array([1, 2, 3, 4, 5], pa.timestamp("us")),
    }
    columns["count"] = pa.array([3, 40, 12, 0, 9], pa.int64())
    half = {name: values[:2] for name, values in columns.items()}
    rest = {name: values[2:] for name, values in columns.items()}
    (tmp_path / "vocab").mkdir()
    (tmp_path / "vocab" / "0.parquet").write_bytes(parquet_bytes(half))
    (tmp_path / "vocab" / "1.parquet").write_bytes(parquet_bytes(rest, row_group_size=2))
    return tmp_path


def _plan(root, out=None, **more):
    more = {"vocab": {"user": f"{root}/vocab"}, "tables": ["user"], **more}
    return plan_export(f"{root}/run", None if out is None else f"{root}/{out}", ExportOptions(**more))


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("count >= 10", ["b", "c"]),
        ("country in ('de', 'us') and count > 0", ["a", "e"]),
        ("country <> 'de'", ["b", "e"]),  # null is unknown, and left out
        ("id like '%c%' or \"row\" = 9", ["c", "e"]),
        ("seen > timestamp '1970-01-01 00:00:00.000003'", ["d", "e"]),
        ("true", ["d", "b", "c", "a", "e"]),
        ("2 * count % 3 = 0 and not (country is null)", ["a", "d", "e"]),
    ],
)
def test_conditions_on_the_vocabulary(root, where, ids):
    write_export(_plan(root, "user.parquet", where=where, further_columns=["country", "seen"]))
    table = pq.read_table(f"{root}/user.parquet")
    row = {"a": 7, "b": 2, "c": 5, "d": 0, "e": 9}
    assert table["id"].to_pylist() == sorted(ids, key=row.get)
    assert np.array(table["vector"].to_pylist()).tolist() == VALUES[[row[i] for i in table["id"].to_pylist()]].tolist()
    country = {"a": "de", "b": "at", "c": None, "d": "de", "e": "us"}
    assert table["country"].to_pylist() == [country[i] for i in table["id"].to_pylist()]
    assert table.schema.names == ["id", "row", "country", "seen", "vector"]


@pytest.mark.parametrize(
    "where",
    [
        "nope > 1",
        "count >",
        "count > 1; drop table x",
        "count, row",
        "count(*) > 1",
        "(select count(*) from read_csv('/etc/passwd')) > 0",
        "row_number() over () < 3",
        "country",
        "",
    ],
)
def test_what_is_no_condition(root, where):
    with pytest.raises(UsageError, match="is no condition on a vocabulary") as caught:
        _plan(root, where=where)
    assert caught.value.kind == "bad-option"
    assert "id, row, count, country, seen" in str(caught.value)


def test_a_condition_that_none_meets(root):
    with pytest.raises(UsageError, match="no entity meets") as caught:
        _plan(root, where="count > 1000")
    assert caught.value.kind == "nothing-to-do"


def test_a_column_that_is_not_there(root):
    with pytest.raises(NotFoundError, match="column city") as caught:
        _plan(root, further_columns=["city"])
    assert caught.value.kind == "no-such-column"


@pytest.mark.parametrize(
    "values", [[[1], [2]], [{"a": 1}, None], [b"text", b"\xff"]], ids=["lists", "structs", "bytes that are no text"]
)
def test_columns_that_csv_has_no_place_for(root, values):
    columns = {"id": [1, 2], "row": [0, 1], "more": pa.array(values)}
    (root / "odd.parquet").write_bytes(parquet_bytes(columns))
    options = {"vocab": {"user": f"{root}/odd.parquet"}, "further_columns": ["more"]}
    with pytest.raises(IncompatibleError, match="column 'more'") as caught:
        _plan(root, format=ExchangeFormat.CSV, **options)
    assert caught.value.kind == "not-representable"
    assert _plan(root, **options).result.tables[0].num_rows == 2


@pytest.mark.parametrize(
    ("out", "more"),
    [
        ("x.parquet", {"tables": []}),
        ("x", {"format": ExchangeFormat.NPY, "further_columns": ["count"]}),
        ("x", {"by_position": True, "where": "true"}),
        ("x", {"by_position": True}),
        ("x", {"further_columns": ["row"]}),
        ("x.csv", {"further_columns": ["v0"]}),
    ],
)
def test_options_that_do_not_go_together(root, out, more):
    with pytest.raises(UsageError) as caught:
        _plan(root, out, **more)
    assert caught.value.kind == "bad-option"


def test_without_a_vocabulary(root):
    with pytest.raises(IncompatibleError, match="--by-position") as caught:
        _plan(root, tables=["a b"], vocab={})
    assert caught.value.kind == "no-vocabulary"


def test_the_vocabulary_that_the_snapshot_records(root):
    """Another one is refused; by position it does not matter, not even whether it is there."""
    (root / "w.txt").write_text("a 1 2\nb 3 4\n")
    options = ImportOptions(vocab_out=f"{root}/recorded")
    write_import(plan_import({"user": f"{root}/w.txt"}, f"{root}/run2", options))
    write_export(plan_export(f"{root}/run2", f"{root}/recorded.parquet"))
    assert pq.read_table(f"{root}/recorded.parquet")["id"].to_pylist() == ["a", "b"]
    write_vocabulary(make_vocabulary(["a", "c"]), f"{root}/other.parquet")
    with pytest.raises(IncompatibleError) as caught:
        plan_export(f"{root}/run2", None, ExportOptions(vocab={"user": f"{root}/other.parquet"}))
    assert caught.value.kind == "vocabulary-mismatch"
    (root / "recorded" / "user.parquet").unlink()
    write_export(
        plan_export(f"{root}/run2", f"{root}/rows.npy", ExportOptions(by_position=True, format=ExchangeFormat.NPY))
    )
    assert np.load(f"{root}/rows.npy").tolist() == [[1, 2], [3, 4]]


def test_a_vocabulary_that_changes_while_it_is_read(root, monkeypatch):
    monkeypatch.setattr(sources, "records_where", lambda *_, **__: np.ones(4, np.bool_))
    with pytest.raises(StorageError) as caught:
        _plan(root, where="true")
    assert caught.value.kind == "object-replaced"


def test_a_vocabulary_of_a_larger_table(root):
    write_vocabulary(make_vocabulary([1, 2], [0, 10]), f"{root}/large.parquet")
    with pytest.raises(IncompatibleError) as caught:
        _plan(root, vocab={"user": f"{root}/large.parquet"})
    assert caught.value.kind == "row-out-of-range"


@pytest.mark.parametrize(
    ("target", "ids"),
    [
        (ExchangeFormat.WORD2VEC, ["new york"]),
        (ExchangeFormat.WORD2VEC, [""]),
        (ExchangeFormat.WORD2VEC_BINARY, ["a\nb"]),
        (ExchangeFormat.NPY, ["a\0"]),
        (ExchangeFormat.NPY, ["x" * 2000]),
        (ExchangeFormat.CSV, [b"\xff"]),
    ],
)
def test_ids_that_a_format_has_no_place_for(root, target, ids):
    write_vocabulary(make_vocabulary(ids), f"{root}/odd.parquet")
    with pytest.raises(IncompatibleError) as caught:
        _plan(root, format=target, vocab={"user": f"{root}/odd.parquet"})
    assert caught.value.kind == "not-representable"


def test_word2vec_needs_ids_and_what_float32_holds(root):
    with pytest.raises(IncompatibleError, match="needs an id") as caught:
        _plan(root, format=ExchangeFormat.WORD2VEC, by_position=True, vocab={})
    assert caught.value.kind == "not-representable"
    write_arrays(f"{root}/wide", {"user": VALUES.astype(np.float64)})
    options = ExportOptions(format=ExchangeFormat.WORD2VEC, vocab={"user": f"{root}/vocab"})
    with pytest.raises(IncompatibleError, match="float64"):
        plan_export(f"{root}/wide", None, options)


def test_all_tables_into_a_directory(root):
    result = write_export(_plan(root, "out", tables=[], by_position=True, vocab={}, format=ExchangeFormat.NPY))
    assert {table.name: table.files for table in result.tables} == {
        "user": ("user.npy", "user.rows.npy"),
        "a b": ("a_b.npy", "a_b.rows.npy"),
    }
    assert np.array_equal(np.load(root / "out" / "a_b.npy"), VALUES[:3])


def test_a_taken_destination(root):
    write_export(_plan(root, "user.parquet"))
    before = (root / "user.parquet").read_bytes()
    for out in ("user.parquet", "vocab"):
        with pytest.raises(RefusedError) as caught:
            write_export(_plan(root, out))
        assert caught.value.kind == "destination-taken"
    assert (root / "user.parquet").read_bytes() == before
    (root / "user.ids.npy").write_bytes(b"")
    with pytest.raises(RefusedError, match=r"user\.ids\.npy"):
        write_export(_plan(root, "user.npy", format=ExchangeFormat.NPY))


def test_a_plan_needs_a_destination_to_be_written(root):
    with pytest.raises(UsageError, match="no destination"):
        write_export(_plan(root))


@pytest.mark.parametrize("target", ExchangeFormat)
def test_a_failure_leaves_nothing(root, target, monkeypatch):
    """The second table cannot be read whole: a shorter object than the manifest says."""
    objects = [path for path in (root / "run" / "embsnap").rglob("0*") if path.is_file()]
    plan = _plan(root, "out", tables=["user"], format=target)
    for path in objects:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Exception, match="short"):
        write_export(plan)
    assert not any(path.is_file() for path in (root / "out").rglob("*"))


def test_a_snapshot_that_is_replaced_meanwhile(root):
    plan = _plan(root, "out")
    path = root / "run" / ".snapshot_metadata"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(StorageError) as caught:
        write_export(plan)
    assert caught.value.kind == "object-replaced"
    assert not (root / "out" / "user.parquet").exists()


def test_each_needed_byte_is_read_about_once(root, monkeypatch):
    """From afar, a tenth of the rows costs a tenth of the bytes, and all rows all of them."""
    rng = np.random.default_rng(0)
    values = rng.random((2000, 32), np.float32)
    write_arrays(f"{root}/large", {"user": values})
    for num_entities in (200, 2000):
        rows = rng.permutation(2000)[:num_entities]
        write_vocabulary(make_vocabulary(list(range(num_entities)), rows.tolist()), f"{root}/v{num_entities}.parquet")
        options = ExportOptions(vocab={"user": f"{root}/v{num_entities}.parquet"}, memory_budget=1 << 18)
        plan = plan_export(f"{root}/large", f"{root}/large{num_entities}.parquet", options)
        store = CountingStore(open_store(f"{root}/large"), maps=False)
        plan.sources[0].snapshot.store = store
        write_export(plan)
        num_read = sum(size for name, size in store.bytes_read.items() if name.startswith("embsnap/"))
        assert num_entities * 128 <= num_read <= 2 * num_entities * 128
        table = pq.read_table(f"{root}/large{num_entities}.parquet")
        assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), values[np.sort(rows)])
    assert pq.ParquetFile(f"{root}/large2000.parquet").num_row_groups > 1


def test_a_dry_run_counts(root):
    result = _plan(root).result
    assert (result.destination, result.num_bytes_to_read) == (None, 5 * 16)
    assert result.num_bytes_to_write > 5 * 16
    assert result.peak_memory_bytes > 0
    assert writing.MANIFEST_NAME == "export.json"

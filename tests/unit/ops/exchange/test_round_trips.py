"""What is exported comes back bit by bit, and other libraries read the same."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from gensim.models import KeyedVectors

from embsnap.errors import IncompatibleError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_columns import VocabularyColumns
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.exchange import ExchangeFormat
from embsnap.model.vocabulary import IdType
from embsnap.ops.export.options import ExportOptions
from embsnap.ops.export.plan import plan_export
from embsnap.ops.export.writing import write_export
from embsnap.ops.importing.options import ImportOptions
from embsnap.ops.importing.plan import plan_import
from embsnap.ops.importing.writing import write_import
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import listed, make_vocabulary, parquet_bytes, put

NUM_ROWS, DIM = 300, 5
ROWS = np.random.default_rng(1).permutation(NUM_ROWS)[:200].tolist()
IDS = {
    IdType.INT64: [-(2**63), 2**63 - 1, *range(198)],
    IdType.UINT64: [2**64 - 1, 2**63, *range(198)],
    IdType.STRING: ["é", "a", "007", "x" * 40, '"', ",", *(f"u{n}" for n in range(194))],
    IdType.BINARY: [b"\xff\xfe", b"\x00a", *(b"b%d" % n for n in range(198))],
}
DTYPES = ["float64", "float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64"]
NATIVE = [ExchangeFormat.PARQUET, ExchangeFormat.ARROW, ExchangeFormat.NPY, ExchangeFormat.SAFETENSORS]
TEXT = [ExchangeFormat.CSV, ExchangeFormat.WORD2VEC]
WORDS = [ExchangeFormat.WORD2VEC, ExchangeFormat.WORD2VEC_BINARY]


def _values(dtype, *, any_bits=True):
    """All kinds of values: any bits at all, or what text can say of them."""
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    data = np.random.default_rng(0).bytes(NUM_ROWS * DIM * dtype.itemsize)
    values = np.frombuffer(data, dtype).reshape(NUM_ROWS, DIM).copy()
    if not any_bits and dtype.kind in "fV":
        with np.errstate(invalid="ignore"):
            values[values != values] = np.nan
        values[ROWS[0]] = [np.inf, -np.inf, -0.0, 0.0, 1e-7]
    return values


def _bits(array):
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


@pytest.fixture
def world(tmp_path):
    """Writes a snapshot of one table, and its vocabulary; returns its rows."""

    def make(dtype="float32", id_type=IdType.INT64, ids=None, *, any_bits=True):
        values = _values(dtype, any_bits=any_bits)
        write_arrays(f"{tmp_path}/run", {"user": values})
        vocabulary = make_vocabulary(ids or IDS[id_type], ROWS, counts=list(range(200)), id_type=id_type)
        write_vocabulary(vocabulary, f"{tmp_path}/vocab.parquet")
        return values

    return make


@pytest.fixture
def there_and_back(tmp_path):
    """Exports the table into a directory, and imports that; returns the new snapshot's rows and its vocabulary."""

    def run(target, **more):
        options = ExportOptions(format=target, vocab={"user": f"{tmp_path}/vocab.parquet"}, **more)
        write_export(plan_export(f"{tmp_path}/run", f"{tmp_path}/out", options))
        into = ImportOptions(vocab_out=f"{tmp_path}/vocabularies")
        result = write_import(plan_import(f"{tmp_path}/out", f"{tmp_path}/back", into))
        vocabulary = read_vocabulary(f"{tmp_path}/vocabularies/user.parquet")
        assert result.tables[0].fingerprint == fingerprint_of(vocabulary)
        recorded = open_snapshot(f"{tmp_path}/back").sidecar.tables["user"]
        assert recorded.fingerprint == result.tables[0].fingerprint
        return read_array(f"{tmp_path}/back", "user"), vocabulary

    return run


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", NATIVE)
def test_every_bit_comes_back(target, dtype, world, there_and_back, tmp_path):
    values = world(dtype)
    found, vocabulary = there_and_back(target)
    assert found.dtype == values.dtype
    assert found.shape == values.shape
    assert (_bits(found[ROWS]) == _bits(values[ROWS])).all()
    assert fingerprint_of(vocabulary) == fingerprint_of(read_vocabulary(f"{tmp_path}/vocab.parquet"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8", "uint8"])
@pytest.mark.parametrize("target", [ExchangeFormat.CSV, *WORDS])
def test_every_value_comes_back(target, dtype, world, there_and_back):
    values = world(dtype, any_bits=False)
    found, vocabulary = there_and_back(target)
    assert found.dtype == values.dtype
    assert (_bits(found[vocabulary.rows_N]) == _bits(values[sorted(ROWS)])).all()


@pytest.mark.parametrize("dtype", ["float64", "int32", "int64"])
def test_csv_keeps_what_is_wider_than_float32(dtype, world, there_and_back):
    values = world(dtype, any_bits=False)
    found, _ = there_and_back(ExchangeFormat.CSV)
    assert (_bits(found[ROWS]) == _bits(values[ROWS])).all()


def test_all_halves_as_text(tmp_path):
    """Every float16 there is."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = np.where(np.isnan(halves), np.float16(np.nan), halves).reshape(-1, 16)
    write_arrays(f"{tmp_path}/run", {"user": values})
    plain = ExportOptions(format=ExchangeFormat.CSV, by_position=True)
    write_export(plan_export(f"{tmp_path}/run", f"{tmp_path}/out", plain))
    write_import(plan_import(f"{tmp_path}/out", f"{tmp_path}/back"))
    assert (_bits(read_array(f"{tmp_path}/back", "user")) == _bits(values)).all()


@pytest.mark.parametrize("id_type", [IdType.INT64, IdType.UINT64, IdType.STRING, IdType.BINARY])
@pytest.mark.parametrize("target", ExchangeFormat)
def test_ids_of_every_type(target, id_type, world, there_and_back, tmp_path):
    values = world(id_type=id_type, any_bits=False)
    if target is ExchangeFormat.CSV and id_type is IdType.BINARY:
        with pytest.raises(IncompatibleError, match="csv has no binary ids") as caught:
            there_and_back(target)
        assert caught.value.kind == "not-representable"
        return
    found, vocabulary = there_and_back(target)
    assert vocabulary.id_type is id_type
    old = read_vocabulary(f"{tmp_path}/vocab.parquet")
    new_row = dict(zip(listed(vocabulary.ids), vocabulary.rows_N.tolist(), strict=True))
    rows = [new_row[entity] for entity in listed(old.ids)]
    assert (_bits(found[rows]) == _bits(values[ROWS])).all()


def test_all_rows_by_position(world, tmp_path):
    values = world("bfloat16")
    for target in NATIVE:
        plain = ExportOptions(format=target, by_position=True)
        write_export(plan_export(f"{tmp_path}/run", f"{tmp_path}/{target}", plain))
        write_import(plan_import(f"{tmp_path}/{target}", f"{tmp_path}/back-{target}"))
        found = open_snapshot(f"{tmp_path}/back-{target}")
        assert (_bits(read_array(found, "user")) == _bits(values)).all()
        assert found.sidecar.tables == {}


def test_others_read_it(world, tmp_path):
    """pyarrow, numpy, safetensors and gensim, each in its own way."""
    values = world(id_type=IdType.STRING, ids=[f"u{n}" for n in range(200)], any_bits=False)
    values[np.isnan(values)] = 0
    (tmp_path / "second").mkdir()
    write_arrays(f"{tmp_path}/second/run", {"user": values})
    paths = {target: f"{tmp_path}/user{target.suffix}" for target in ExchangeFormat}
    for target, path in paths.items():
        options = ExportOptions(format=target, vocab={"user": f"{tmp_path}/vocab.parquet"})
        write_export(plan_export(f"{tmp_path}/second/run", path, options))
    order = np.argsort(ROWS)
    ids, rows = [f"u{n}" for n in order], np.sort(ROWS)
    tables = [pq.read_table(paths[ExchangeFormat.PARQUET]), pa.ipc.open_file(paths[ExchangeFormat.ARROW]).read_all()]
    for table in tables:
        assert table.schema.field("vector").type.list_size == DIM
        assert table["id"].to_pylist() == ids
        assert table["row"].to_pylist() == rows.tolist()
        assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), values[rows])
    assert np.array_equal(np.load(paths[ExchangeFormat.NPY]), values[rows])
    assert np.load(f"{tmp_path}/user.ids.npy").tolist() == ids
    assert np.load(f"{tmp_path}/user.rows.npy").tolist() == rows.tolist()
    tensors = safetensors.numpy.load_file(paths[ExchangeFormat.SAFETENSORS])
    assert np.array_equal(tensors["weight"], values[rows])
    assert tensors["rows"].tolist() == rows.tolist()
    text = pa.csv.read_csv(paths[ExchangeFormat.CSV])
    assert text["id"].to_pylist() == ids
    for target in WORDS:
        found = KeyedVectors.load_word2vec_format(paths[target], binary=target is ExchangeFormat.WORD2VEC_BINARY)
        assert found.index_to_key == ids
        assert np.array_equal(found.vectors, values[rows])


def test_an_exported_parquet_file_is_a_vocabulary(world, tmp_path):
    world()
    options = ExportOptions(vocab={"user": f"{tmp_path}/vocab.parquet"}, further_columns=["count"])
    write_export(plan_export(f"{tmp_path}/run", f"{tmp_path}/user.parquet", options))
    found, old = read_vocabulary(f"{tmp_path}/user.parquet"), read_vocabulary(f"{tmp_path}/vocab.parquet")
    assert fingerprint_of(found) == fingerprint_of(old)
    assert sorted(found.counts_N.tolist()) == list(range(200))


@pytest.mark.parametrize("target", [ExchangeFormat.PARQUET, ExchangeFormat.ARROW])
def test_further_columns_that_look_like_others(world, tmp_path, target):
    world()
    old = read_vocabulary(f"{tmp_path}/vocab.parquet")
    columns = {"id": old.ids, "row": old.rows_N, "key": old.rows_N, "embedding": [[1.0]] * 200}
    put(f"{tmp_path}/more.parquet", parquet_bytes(columns))
    options = ExportOptions(
        format=target,
        vocab={"user": f"{tmp_path}/more.parquet"},
        columns=VocabularyColumns(id="id"),
        further_columns=["key", "embedding"],
    )
    write_export(plan_export(f"{tmp_path}/run", f"{tmp_path}/out", options))
    write_import(
        plan_import(f"{tmp_path}/out", f"{tmp_path}/back", ImportOptions(vocab_out=f"{tmp_path}/vocabularies"))
    )
    there, back = (read_array(f"{tmp_path}/{name}", "user")[old.rows_N] for name in ("run", "back"))
    assert (_bits(there) == _bits(back)).all()
    assert fingerprint_of(read_vocabulary(f"{tmp_path}/vocabularies/user.parquet")) == fingerprint_of(old)


def test_the_directory_says_what_it_holds(world, tmp_path):
    world("float16")
    options = ExportOptions(format=ExchangeFormat.CSV, vocab={"user": f"{tmp_path}/vocab.parquet"}, where="count < 50")
    result = write_export(plan_export(f"{tmp_path}/run", f"{tmp_path}/out", options))
    document = json.loads((tmp_path / "out" / "export.json").read_text())
    (table,) = document["tables"]
    assert (table["name"], table["dtype"], table["num_embeddings"], table["num_rows"]) == ("user", "float16", 300, 50)
    assert table["files"] == ["user.csv"]
    assert document["source"]["metadata_sha256"] == open_snapshot(f"{tmp_path}/run").metadata_sha256
    sizes = sum((tmp_path / "out" / name).stat().st_size for name in ("user.csv", "export.json"))
    assert result.num_bytes_to_write == sizes

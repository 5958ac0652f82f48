"""Files of other makes as snapshots."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from gensim.models import KeyedVectors

from embsnap.errors import (
    EmbsnapError,
    ErrorKind,
    IncompatibleError,
    NotFoundError,
    RefusedError,
    SnapshotError,
    UsageError,
)
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.model.exchange import ExchangeFormat
from embsnap.model.vocabulary import IdType
from embsnap.ops.importing.options import ImportOptions
from embsnap.ops.importing.plan import plan_import
from embsnap.ops.importing.writing import write_import
from embsnap.testing.tables import read_array
from embsnap.testing.vocabularies import listed

VALUES = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
WORDS = ["the", "of", "München", "a_b", "x.y", "7"]


@pytest.fixture
def bring(tmp_path):
    """Imports one file as the table `word`; returns its rows and its vocabulary."""

    def run(source, **more):
        options = ImportOptions(**{"vocab_out": f"{tmp_path}/vocabularies", **more})
        write_import(plan_import({"word": str(source)}, f"{tmp_path}/out", options))
        place = tmp_path / "vocabularies" / "word.parquet"
        return read_array(f"{tmp_path}/out", "word"), read_vocabulary(str(place)) if place.exists() else None

    return run


@pytest.fixture
def keyed():
    vectors = KeyedVectors(4)
    vectors.add_vectors(WORDS, VALUES)
    return vectors


@pytest.mark.parametrize(("binary", "name"), [(False, "w.txt"), (False, "w.vec"), (True, "w.bin")])
def test_what_gensim_writes(bring, keyed, tmp_path, binary, name):
    keyed.save_word2vec_format(str(tmp_path / name), binary=binary)
    found, vocabulary = bring(tmp_path / name)
    assert np.array_equal(found, VALUES)
    assert listed(vocabulary.ids) == [word.encode() for word in WORDS]
    assert vocabulary.id_type is IdType.STRING
    assert open_snapshot(str(tmp_path / "out")).table("word").weight.path == "model/ebc.embedding_bags.word.weight"


@pytest.mark.parametrize(
    ("head", "columns"),
    [
        ("\ufeffid,row,count", {}),
        ("entity_id,idx,freq", {}),
        ("Who,where,seen", {"id": "Who", "row": "where", "count": "seen"}),
        ("id,key,count", {"row": "key"}),
    ],
)
def test_the_columns_of_csv_files_of_others(bring, tmp_path, head, columns):
    (tmp_path / "w.csv").write_text(f"{head},v0,v1\n7,2,30,1,2\n8,0,40,3,4\n", encoding="utf-8")
    found, vocabulary = bring(tmp_path / "w.csv", columns=columns)
    assert found[[2, 0]].tolist() == [[1, 2], [3, 4]]
    assert (listed(vocabulary.ids), vocabulary.rows_N.tolist()) == ([7, 8], [2, 0])
    assert vocabulary.counts_N.tolist() == [30, 40]


def test_a_column_that_a_csv_file_does_not_have(bring, tmp_path):
    (tmp_path / "w.csv").write_text("id,v0\n7,1\n")
    with pytest.raises(SnapshotError, match="has no column 'who'"):
        bring(tmp_path / "w.csv", columns={"id": "who"})


def test_the_original_programs_binary_form(bring, tmp_path):
    """Each row ends in a line break, which is no part of the next id."""
    rows = b"".join(word.encode() + b" " + row.tobytes() + b"\n" for word, row in zip(WORDS, VALUES, strict=True))
    (tmp_path / "w.bin").write_bytes(b"6 4\n" + rows)
    found, vocabulary = bring(tmp_path / "w.bin")
    assert np.array_equal(found, VALUES)
    assert listed(vocabulary.ids) == [word.encode() for word in WORDS]


def test_glove(bring, tmp_path):
    """No first line; ids may have spaces in them; lines may end in a space, or as on Windows."""
    words = ["the", "of", ". . .", "at name@domain.com", "x", "y"]
    numbers = [" ".join(f"{value:.5f}" for value in row) for row in VALUES]
    ends = ["\n", "\r\n", " \n", " \r\n", "\n", ""]
    text = "".join(f"{word} {row}{end}" for word, row, end in zip(words, numbers, ends, strict=True))
    (tmp_path / "glove.txt").write_bytes(text.encode())
    found, vocabulary = bring(tmp_path / "glove.txt")
    assert np.array_equal(found, np.array([row.split() for row in numbers], np.float32))
    assert listed(vocabulary.ids) == [word.encode() for word in words]


def test_text_larger_than_a_chunk(bring, tmp_path, monkeypatch):
    monkeypatch.setattr("embsnap.formats.exchange.word2vec_text._CHUNK_BYTES", 64)
    monkeypatch.setattr("embsnap.formats.exchange.word2vec_binary._CHUNK_BYTES", 16)
    values = np.random.default_rng(1).standard_normal((500, 4)).astype(np.float32)
    vectors = KeyedVectors(4)
    vectors.add_vectors([f"w{n}" for n in range(500)], values)
    for number, (name, binary) in enumerate((("w.txt", False), ("w.bin", True))):
        vectors.save_word2vec_format(str(tmp_path / name), binary=binary)
        options = ImportOptions(vocab_out=f"{tmp_path}/v{number}")
        write_import(plan_import({"word": f"{tmp_path}/{name}"}, f"{tmp_path}/s{number}", options))
        assert np.array_equal(read_array(f"{tmp_path}/s{number}", "word"), values)


def test_numbers_as_words(bring, tmp_path):
    (tmp_path / "w.txt").write_text("10 1 2\n11 3 4\n")
    with pytest.raises(SnapshotError):
        bring(tmp_path / "w.txt", format=ExchangeFormat.WORD2VEC_BINARY)
    found, vocabulary = bring(tmp_path / "w.txt", id_type=IdType.INT64)
    assert found.tolist() == [[1, 2], [3, 4]]
    assert listed(vocabulary.ids) == [10, 11]


@pytest.mark.parametrize("text", ["id,v0,v1\n7,inf,1\n8,0,{}\n", "2 2\na inf 1\nb 0 {}\n"])
@pytest.mark.parametrize("is_large", [False, True])
def test_numbers_that_would_become_infinite(bring, tmp_path, text, is_large):
    source = tmp_path / ("w.csv" if "," in text else "w.txt")
    source.write_text(text.format("-1e39" if is_large else "3e38"))
    if not is_large:
        assert bring(source)[0].tolist() == [[np.inf, 1], [0, np.float32(3e38)]]
        return
    with pytest.raises(IncompatibleError, match=r"too large for float32 \(expected .* found -1e\+39") as caught:
        bring(source)
    assert caught.value.kind is ErrorKind.CAST_OVERFLOW
    assert not list((tmp_path / "out").rglob("*.snapshot_metadata"))


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed"])
@pytest.mark.parametrize("name", ["embedding", "my_vector"])
def test_parquet_of_other_makes(bring, tmp_path, kind, name):
    types = {
        "list": pa.list_(pa.float32()),
        "large_list": pa.large_list(pa.float32()),
        "fixed": pa.list_(pa.float32(), 4),
    }
    (tmp_path / "parts").mkdir()
    for part in range(2):
        rows = VALUES[3 * part : 3 * part + 3].tolist()
        columns = {"entity_id": [part * 3, part * 3 + 1, part * 3 + 2], name: pa.array(rows, types[kind])}
        pq.write_table(pa.table(columns), tmp_path / "parts" / f"{part}.parquet", row_group_size=2)
    found, vocabulary = bring(tmp_path / "parts")
    assert np.array_equal(found, VALUES)
    assert listed(vocabulary.ids) == list(range(6))
    assert vocabulary.rows_N.tolist() == list(range(6))


def test_named_columns(bring, tmp_path):
    columns = {"k": [5, 6], "n": [3, 1], "u": [[1.0, 2.0], [3.0, 4.0]], "v": [[5.0], [6.0]]}
    pq.write_table(pa.table(columns), tmp_path / "w.parquet")
    with pytest.raises(IncompatibleError, match="--vector-column") as caught:
        bring(tmp_path / "w.parquet")
    assert caught.value.kind == "shape-mismatch"
    found, vocabulary = bring(tmp_path / "w.parquet", vector_column="u", columns={"id": "k", "row": "n"})
    assert found.dtype == np.float64
    assert found[[3, 1]].tolist() == [[1, 2], [3, 4]]
    assert vocabulary.rows_N.tolist() == [3, 1]


def test_feather_and_numpy_and_safetensors(bring, tmp_path):
    pa.feather.write_feather(
        pa.table({"vec": pa.array(VALUES.tolist(), pa.list_(pa.float32()))}), tmp_path / "w.feather"
    )
    np.save(tmp_path / "w.npy", VALUES.astype(">f4"))
    safetensors.numpy.save_file({"a": VALUES, "bias": VALUES[0]}, tmp_path / "w.safetensors")
    for number, name in enumerate(("w.feather", "w.npy", "w.safetensors")):
        write_import(plan_import({"word": f"{tmp_path}/{name}"}, f"{tmp_path}/s{number}"))
        found = read_array(f"{tmp_path}/s{number}", "word")
        assert found.dtype == np.dtype("<f4")
        assert np.array_equal(found, VALUES)


def test_rows_without_a_vector_are_drawn(bring, tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "row": [5, 2], "vector": [[1.0, 2.0], [3.0, 4.0]]}), tmp_path / "w.parquet")
    plan = plan_import({"word": f"{tmp_path}/w.parquet"}, None, ImportOptions(vocab_out=f"{tmp_path}/v"))
    (table,) = plan.result.tables
    assert (table.num_vectors, table.num_embeddings, table.num_drawn) == (2, 6, 4)
    assert table.initializer == "uniform(±0.408248, seed=0)"
    found, _ = bring(tmp_path / "w.parquet")
    assert found[[5, 2]].tolist() == [[1, 2], [3, 4]]
    drawn = found[[0, 1, 3, 4]]
    assert np.abs(drawn).max() <= 1 / np.sqrt(6)
    assert len(np.unique(drawn)) == drawn.size


def test_compact_numbers_by_the_file(bring, tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "row": [5, 5], "vector": [[1.0], [3.0]]}), tmp_path / "w.parquet")
    with pytest.raises(IncompatibleError, match="--compact") as caught:
        bring(tmp_path / "w.parquet")
    assert caught.value.kind == "duplicate-rows"
    found, vocabulary = bring(tmp_path / "w.parquet", compact=True)
    assert found.tolist() == [[1], [3]]
    assert vocabulary.rows_N.tolist() == [0, 1]


def test_rows_of_a_table_that_nobody_has(bring, tmp_path):
    pq.write_table(pa.table({"id": [1], "row": [1 << 40], "vector": [[1.0]]}), tmp_path / "w.parquet")
    with pytest.raises(IncompatibleError, match="huge") as caught:
        bring(tmp_path / "w.parquet")
    assert caught.value.kind == "row-out-of-range"


def test_what_becomes_of_ids_must_be_said(tmp_path, bring):
    (tmp_path / "w.txt").write_text("a 1 2\nb 3 4\n")
    with pytest.raises(UsageError, match="--vocab-out") as caught:
        bring(tmp_path / "w.txt", vocab_out=None)
    assert caught.value.kind == "bad-option"
    found, vocabulary = bring(tmp_path / "w.txt", vocab_out=None, by_position=True)
    assert (found.tolist(), vocabulary) == ([[1, 2], [3, 4]], None)


def test_several_tables_and_a_prefix(tmp_path):
    (tmp_path / "w.txt").write_text("a 1 2\nb 3 4\n")
    np.save(tmp_path / "p.npy", VALUES)
    options = ImportOptions(vocab_out=f"{tmp_path}/v", prefix="app/large.ebc")
    given = {"word": f"{tmp_path}/w.txt", "post": f"{tmp_path}/p.npy"}
    result = write_import(plan_import(given, f"{tmp_path}/out", options))
    snapshot = open_snapshot(f"{tmp_path}/out")
    assert snapshot.table("post").weight.path == "app/large.ebc.embedding_bags.post.weight"
    assert set(snapshot.sidecar.tables) == {"word"}
    assert snapshot.sidecar.lineage.counts["post"] == {"imported": 6, "new": 0}
    assert result.destination == f"{tmp_path}/out"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "bad-vocabulary"),
        ("2 2\na 1 2\n", "bad-export"),
        ("a 1 2\nb 3\n", "bad-export"),
        ("a 1 2\nb 3 x\n", "bad-export"),
        ("a\nb\n", "bad-export"),
        ("a 1 2\na 3 4\n", "duplicate-ids"),
    ],
)
def test_text_that_is_not_what_it_should_be(bring, tmp_path, text, kind):
    (tmp_path / "w.txt").write_text(text)
    with pytest.raises(EmbsnapError) as caught:
        bring(tmp_path / "w.txt")
    assert caught.value.kind == kind
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "vocabularies").exists()


@pytest.mark.parametrize(
    "vectors",
    [
        [[1.0, 2.0], [3.0]],
        [[1.0, 2.0], None],
        [[1.0, None], [3.0, 4.0]],
    ],
)
def test_vectors_of_different_lengths_leave_nothing(bring, tmp_path, vectors):
    pq.write_table(
        pa.table({"id": [1, 2], "vector": pa.array(vectors, pa.list_(pa.float32()))}), tmp_path / "w.parquet"
    )
    with pytest.raises(IncompatibleError) as caught:
        bring(tmp_path / "w.parquet")
    assert caught.value.kind == "shape-mismatch"
    assert not (tmp_path / "out").exists()


def test_null_ids_and_numbers_that_are_no_vectors(bring, tmp_path):
    pq.write_table(pa.table({"id": pa.array([1, None]), "vector": [[1.0], [2.0]]}), tmp_path / "n.parquet")
    with pytest.raises(IncompatibleError, match="nulls"):
        bring(tmp_path / "n.parquet")
    pq.write_table(pa.table({"id": [1, 2], "vector": [["a"], ["b"]]}), tmp_path / "t.parquet")
    with pytest.raises(IncompatibleError) as caught:
        bring(tmp_path / "t.parquet")
    assert caught.value.kind == "dtype-mismatch"


def test_taken_destinations(bring, tmp_path):
    (tmp_path / "w.txt").write_text("a 1 2\nb 3 4\n")
    bring(tmp_path / "w.txt")
    with pytest.raises(RefusedError, match="holds a snapshot already"):
        bring(tmp_path / "w.txt")
    again = plan_import(
        {"word": f"{tmp_path}/w.txt"}, f"{tmp_path}/else", ImportOptions(vocab_out=f"{tmp_path}/vocabularies")
    )
    with pytest.raises(RefusedError, match="word"):
        write_import(again)
    assert not (tmp_path / "else").exists()


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "w.txt").write_text("a 1 2\nb 3 4\n")
    plan = plan_import({"word": f"{tmp_path}/w.txt"}, f"{tmp_path}/out", ImportOptions(vocab_out=f"{tmp_path}/v"))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("embsnap.formats.torchsnapshot.writer.commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_import(plan)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "w.txt"]


def test_names_and_places_that_cannot_be(tmp_path):
    for given in ({}, {"a.b": "x.npy"}, {"w": "x.zip"}):
        with pytest.raises(UsageError):
            plan_import(given)
    with pytest.raises(NotFoundError):
        plan_import({"w": f"{tmp_path}/x.npy"})
    with pytest.raises(NotFoundError, match=r"export\.json"):
        plan_import(str(tmp_path))
    np.save(tmp_path / "p.npy", VALUES)
    plan = plan_import({"w": f"{tmp_path}/p.npy"})
    with pytest.raises(UsageError, match="no destination"):
        write_import(plan)


def _manifest(**fields):
    table = {"name": "user", "path": "m/w", "dtype": "float32", "num_embeddings": 1, "id_type": None, **fields}
    return json.dumps({"schema": "embsnap.exported", "version": 1, "format": "csv", "tables": [table]})


def test_an_export_of_several_tables_of_one_name(tmp_path):
    document = json.loads(_manifest(files=["a.csv"]))
    document["tables"] += json.loads(_manifest(files=["b.csv"], path="n/w"))["tables"]
    (tmp_path / "export.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="several tables of one name") as caught:
        plan_import(str(tmp_path))
    assert (caught.value.kind, caught.value.found) == ("bad-option", "user")
    (tmp_path / "export.json").write_text(json.dumps({**document, "tables": []}))
    with pytest.raises(UsageError, match="holds no table"):
        plan_import(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": "embsnap.exported", "version": 2}',
        "[" * 100_000,
        _manifest(files=[]),
        _manifest(files=["x.csv"], dtype="float33"),
        _manifest(files=["x.csv"], num_embeddings=-1),
    ],
)
def test_a_manifest_that_is_none(tmp_path, text):
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(SnapshotError) as caught:
        plan_import(str(tmp_path))
    assert caught.value.kind == "bad-export"


def test_a_manifest_that_points_elsewhere(tmp_path):
    (tmp_path / "export.json").write_text(_manifest(files=["../x"]))
    with pytest.raises(SnapshotError) as caught:
        plan_import(str(tmp_path))
    assert caught.value.kind == "unsafe-location"


def test_text_edited_to_what_its_table_did_not_hold(tmp_path):
    (tmp_path / "user.csv").write_text('"row","v0"\n0,0.1\n')
    (tmp_path / "export.json").write_text(_manifest(files=["user.csv"], dtype="bfloat16"))
    with pytest.raises(IncompatibleError, match="bfloat16") as caught:
        write_import(plan_import(str(tmp_path), f"{tmp_path}/back"))
    assert caught.value.kind == "not-representable"
    assert not (tmp_path / "back" / ".snapshot_metadata").exists()

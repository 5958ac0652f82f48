"""`embsnap export` and `embsnap import` as typed."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.exchange import ExchangeFormat
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary

VALUES = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.fixture
def root(tmp_path):
    write_arrays(f"{tmp_path}/run", {"user": VALUES})
    write_vocabulary(make_vocabulary([7, 8, 9], [3, 1, 0], counts=[1, 40, 30]), f"{tmp_path}/vocab.parquet")
    return tmp_path


@pytest.fixture
def export(embsnap, root):
    return lambda *more: embsnap("export", root / "run", "--vocab", f"user={root}/vocab.parquet", *more)


def test_one_table_as_one_file(export, root):
    run = export("--table", "user", "--where", "count >= 10", "--column", "count", "--out", root / "user.parquet")
    assert run.exit_code == 0, run.stderr
    table = pq.read_table(root / "user.parquet").to_pydict()
    assert table == {"id": [9, 8], "row": [0, 1], "count": [30, 40], "vector": [[0, 1], [2, 3]]}
    assert run.stdout.splitlines()[-1].startswith("wrote ")
    assert f"to {root}/user.parquet" in run.stdout


def test_there_and_back(embsnap, export, root):
    assert export("--format", "safetensors", "--out", root / "out").exit_code == 0
    run = embsnap("import", root / "out", "--vocab-out", root / "vocabularies", "--out", root / "back")
    assert run.exit_code == 0, run.stderr
    assert "user: 1 rows have no vector: uniform(±0.5, seed=0)" in run.stdout
    found = read_array(f"{root}/back", "user")
    assert np.array_equal(found[[0, 1, 3]], VALUES[[0, 1, 3]])
    shown = embsnap("lookup", root / "back", "--id", 8, "--json")
    assert json.loads(shown.stdout)["entities"][0]["found"]["values"] == [2, 3]


def test_dry_runs_write_nothing(embsnap, export, root):
    before = sorted(root.rglob("*"))
    run = export("--dry-run", "--json", "--out", root / "out")
    found = json.loads(run.stdout)
    assert (found["schema"], found["destination"], found["format"]) == ("embsnap.export", None, "parquet")
    assert "dry run, nothing written: 24 B to read" in export("--dry-run").stdout
    assert export().exit_code == 2
    (root / "w.vec").write_text("2 2\na 1 2\nb 3 4\n")
    before = sorted([*before, root / "w.vec"])
    run = embsnap("import", f"w={root}/w.vec", "--by-position", "--dry-run", "--json")
    found = json.loads(run.stdout)
    assert (found["schema"], found["destination"], found["tables"][0]["dim"]) == ("embsnap.import", None, 2)
    assert "dry run" in embsnap("import", f"w={root}/w.vec", "--by-position", "--dry-run").stdout
    assert embsnap("import", f"w={root}/w.vec", "--by-position").exit_code == 2
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("name", ["u.arrow", "u.npy", "u.safetensors", "u.csv", "u.txt", "u.bin"])
def test_the_name_tells_the_format(embsnap, export, root, name):
    assert export("--out", root / name).exit_code == 0
    run = embsnap("import", f"user={root / name}", "--id-type", "int64", "--vocab-out", root / "v", "--out", root / "b")
    assert run.exit_code == 0, run.stderr
    found = json.loads(embsnap("lookup", root / "b", "--id", 7, "--json").stdout)
    assert found["entities"][0]["found"]["values"] == [6, 7]


def test_exit_codes(embsnap, export, root):
    assert export("--where", "nope", "--dry-run").exit_code == 2
    assert export("--table", "post", "--dry-run").exit_code == 3
    assert embsnap("export", root / "run", "--dry-run").exit_code == 5
    assert export("--out", root).exit_code == 7
    assert embsnap("import", "nonsense=", "--dry-run").exit_code == 2
    assert embsnap("import", "a=x.npy", "a=y.npy", "--dry-run").exit_code == 2
    assert embsnap("import", f"a={root}/x.npy", "--dry-run").exit_code == 3
    (root / "x.npy").write_bytes(b"no")
    assert embsnap("import", f"a={root}/x.npy", "--dry-run").exit_code == 4
    assert embsnap("import", f"user={root}/vocab.parquet", "--vocab-out", root / "v", "--dry-run").exit_code == 5


@pytest.mark.parametrize("target", [each.value for each in ExchangeFormat])
def test_in_a_bucket(embsnap, root, gcs, target):
    """Both ways, where nothing can be mapped."""
    run, out = gcs.upload(root / "run", "run"), gcs.uri("exported")
    vocab = gcs.uri("vocab.parquet")
    assert embsnap("copy", root / "vocab.parquet", vocab).exit_code == 0
    done = embsnap("export", run, "--vocab", f"user={vocab}", "--format", target, "--out", out)
    assert done.exit_code == 0, done.stderr
    done = embsnap("import", out, "--vocab-out", gcs.uri("vocabularies"), "--out", gcs.uri("back"))
    assert done.exit_code == 0, done.stderr
    found = json.loads(embsnap("lookup", gcs.uri("back"), "--id", 7, "--id", 9, "--json").stdout)
    assert [entity["found"]["values"] for entity in found["entities"]] == [[6, 7], [0, 1]]

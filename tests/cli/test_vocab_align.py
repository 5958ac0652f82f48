"""`embsnap vocab align` as typed, and its file handed to `embsnap warmstart --remap`."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary


@pytest.fixture
def days(tmp_path):
    write_vocabulary(make_vocabulary([10, 11, 12, 14]), f"{tmp_path}/old.parquet")
    write_vocabulary(make_vocabulary([14, 13, 12, 11], counts=[5, 1, 3, 1]), f"{tmp_path}/new.parquet")
    return tmp_path


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


@pytest.fixture
def config(days, rows):
    write_arrays(f"{days}/run", {"user": rows})
    path = days / "config.yaml"
    path.write_text(
        f"""
tables:
- name: user
  num_embeddings: 5
  embedding_dim: 3
  pretrained:
    emb_name: user
    embedding_snapshot_uri: {days}/run
"""
    )
    return path


def align(embsnap, days, *more):
    return embsnap("vocab", "align", days / "old.parquet", days / "new.parquet", *more)


def test_a_row_map(embsnap, days):
    run = align(embsnap, days, "--num-embeddings", 5, "--out", days / "map.parquet")
    assert run.exit_code == 0, run.stderr
    lines = run.stdout.splitlines()
    assert "carried: 3, of which 2 move to another row" in lines
    assert "new: 1; dropped: 1" in lines
    assert "rows without an entity: 1" in lines
    assert "coverage: 75.00 %, weighted by counts 90.00 %" in lines
    assert lines[-1] == f"wrote 4 records of new_row, old_row, id to {days}/map.parquet"
    assert pq.read_table(days / "map.parquet").to_pydict() == {
        "new_row": [0, 1, 2, 3],
        "old_row": [3, None, 2, 1],
        "id": [14, 13, 12, 11],
    }


def test_json_of_a_dry_run(embsnap, days):
    before = sorted(days.iterdir())
    run = align(embsnap, days, "--dry-run", "--no-ids", "--json")
    report = json.loads(run.stdout)
    assert (report["schema"], report["version"], report["destination"]) == ("embsnap.vocab_align", 1, None)
    assert (report["num_carried"], report["coverage"], report["with_ids"]) == (3, 0.75, False)
    assert report["new"]["num_rows"] == 4
    assert sorted(days.iterdir()) == before


@pytest.mark.parametrize(
    ("more", "exit_code", "says"),
    [
        ((), 2, "--out"),
        (("--dry-run", "--num-old-rows", 3), 5, "a table of 3 rows does not have"),
        (("--dry-run", "--vocab-column", "id=user"), 5, "'user'"),
        (("--out", "new.parquet"), 7, "holds something already"),
    ],
)
def test_exit_codes(embsnap, days, monkeypatch, more, exit_code, says):
    monkeypatch.chdir(days)
    run = align(embsnap, days, *more)
    assert (run.exit_code, run.stdout) == (exit_code, "")
    assert says in run.stderr


def test_a_vocabulary_that_is_not_there(embsnap, days):
    assert embsnap("vocab", "align", days / "old.parquet", days / "none.parquet", "--dry-run").exit_code == 3


def test_warmstart_takes_it(embsnap, days, config, rows):
    align(embsnap, days, "--num-embeddings", 5, "--out", days / "map.parquet")
    run = embsnap(
        "warmstart", config, "--remap", f"user={days}/map.parquet", "--out", days / "out", "--min-coverage", 0.7
    )
    assert run.exit_code == 0, run.stderr
    np.testing.assert_array_equal(read_array(f"{days}/out", "user")[[0, 2, 3]], rows[[3, 2, 1]])
    assert f"by the row map {days}/map.parquet" in run.stdout
    assert "75.00 %" in run.stdout
    assert "pooled lookup user" in run.stdout


def test_and_one_made_elsewhere(embsnap, days, config, rows):
    pq.write_table(pa.table({"new_row": pa.array([4, 0], pa.int32()), "old_row": [0, 2]}), days / "map.parquet")
    arguments = ["warmstart", config, "--remap", f"user={days}/map.parquet", "--no-model"]
    run = embsnap(*arguments, "--out", days / "out", "--json")
    assert run.exit_code == 0, run.stderr
    np.testing.assert_array_equal(read_array(f"{days}/out", "user")[[4, 0]], rows[[0, 2]])
    (table,) = json.loads(run.stdout)["tables"]
    assert (table["alignment"], table["row_map"]) == ("remap", f"{days}/map.parquet")
    assert embsnap(*arguments, "--dry-run", "--min-coverage", 0.5).exit_code == 1


@pytest.mark.parametrize(
    ("remap", "exit_code"),
    [(["user"], 2), (["item=map.parquet"], 2), (["user=a", "user=b"], 2), (["user=none.parquet"], 3)],
)
def test_exit_codes_of_warmstart(embsnap, config, remap, exit_code):
    options = [part for value in remap for part in ("--remap", value)]
    assert embsnap("warmstart", config, "--dry-run", *options).exit_code == exit_code


def test_a_map_that_is_wrong(embsnap, days, config):
    pq.write_table(pa.table({"new_row": [5, 0], "old_row": [0, 4]}), days / "map.parquet")
    run = embsnap("warmstart", config, "--dry-run", "--remap", f"user={days}/map.parquet")
    assert run.exit_code == 5
    assert "new_row 5" in run.stderr
    assert "an old row that a table of 4 rows does not have" in run.stderr

"""`embsnap stats` and `embsnap history`, as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
CONFIG = """\
tables:
  - {name: user, num_embeddings: 40, embedding_dim: 2, optimizer: {sgd: {lr: 0.1}}}
  - {name: post, num_embeddings: 3, embedding_dim: 2, optimizer: {sgd: {lr: 0.1}}}
tables_to_log: [model.embeddings.ebc.embedding_bags.post.weight]
"""


@pytest.fixture
def run_dir(tmp_path):
    """A run of two steps with the tables user and post."""
    user = np.array([[3, 4]] * 38 + [[0, 0], [3e4, 4e4]], np.float32)
    state = np.ones(40, np.float32)
    state[:10] = 0
    for step in (7, 12):
        tables = {"user": user, "post": np.array([[1, 0], [0, 1], [0, step]], np.float32)}
        write_arrays(str(tmp_path / "run" / str(step)), tables, {STATE: state})
    return tmp_path / "run"


def _without_time(text):
    *lines, last = text.splitlines()
    assert last.startswith("read ")
    return "\n".join(lines)


def test_text(embsnap, run_dir):
    run = embsnap("stats", f"{run_dir}@latest", "--quiet")
    assert (run.exit_code, run.stderr) == (0, "")
    assert (
        _without_time(run.stdout)
        == f"""\
snapshot: {run_dir}/12, step 12

table  rows  dim  dtype    sharding  statistics of
user     40    2  float32  whole     all rows
post      3    2  float32  whole     all rows

rows of  dead        norm ≤ 0.0001  exploded  non-finite  never updated  duplicates
user     1 (2.50 %)  1 (2.50 %)     0         0           10 (25.00 %)   37 (92.50 %)
post     0           0              0         0           unknown        0

norms of     mean      std  p0    p1  p50      p99   p100
user      1254.75  7805.49   0  1.95    5  30501.9  50000
post      4.66667  5.18545   1     1    1    11.78     12

directions of  dim  effective rank  centred  stable rank  information abundance   IsoScore  average cosine
user             2               1        1            1                      1          0               1
post             2         1.31072  1.27761       1.0069                1.08305  0.0102113        0.333333

rank                                   rows  bytes  mean norm
ebc.embedding_bags.user.weight-norm-0    40  320 B    1254.75
ebc.embedding_bags.post.weight-norm-0     3  24 B     4.66667

warning: user: rows point in one direction: their average cosine is 1 [aligned-rows]
  try: take the mean row away, or train with negatives: nearest neighbours mean little as it is
83 rows read without a checksum to compare them with"""
    )


def test_json(embsnap, run_dir):
    run = embsnap("stats", run_dir / "12", "--json", "--table", "user", "--near-zero", "5")
    document = json.loads(run.stdout)
    assert (document["schema"], document["version"], document["step"]) == ("embsnap.stats", 1, 12)
    (table,) = document["tables"]
    assert table["rows"]["num_near_zero"] == 39
    assert table["rows"]["norms"]["percentiles"]["p50"] == 5
    assert table["duplicates"] == {"num_distinct": 3, "num_duplicates": 37, "largest_group": 38}


def test_the_tables_that_a_config_logs(embsnap, run_dir, tmp_path):
    (tmp_path / "job.yaml").write_text(CONFIG)
    document = json.loads(embsnap("stats", run_dir / "12", "--config", tmp_path / "job.yaml", "--json").stdout)
    assert [table["name"] for table in document["tables"]] == ["post"]
    document = json.loads(
        embsnap("stats", run_dir / "12", "--config", tmp_path / "job.yaml", "--table", "user", "--json").stdout
    )
    assert [table["name"] for table in document["tables"]] == ["user"]


def test_a_config_that_logs_nothing_means_all(embsnap, run_dir, tmp_path):
    (tmp_path / "job.yaml").write_text(CONFIG.replace("tables_to_log", "# tables_to_log"))
    document = json.loads(embsnap("stats", run_dir / "12", "--config", tmp_path / "job.yaml", "--json").stdout)
    assert [table["name"] for table in document["tables"]] == ["user", "post"]


def test_popularity(embsnap, run_dir, tmp_path):
    vocabulary = make_vocabulary(list(range(100, 140)), counts=list(range(40)))
    write_vocabulary(vocabulary, str(tmp_path / "vocab"))
    run = embsnap("stats", run_dir / "12", "--vocab", f"user={tmp_path / 'vocab'}", "--table", "user")
    assert run.exit_code == 0
    assert "user by popularity: norm and count correlate by" in run.stdout
    assert embsnap("stats", run_dir / "12", "--vocab", "user").exit_code == 2


def test_a_sample(embsnap, run_dir):
    run = embsnap("stats", run_dir / "12", "--sample-rows", "20", "--seed", "3")
    assert "a sample of 20" in run.stdout
    assert "95 % intervals of" in run.stdout


def test_parts_can_be_left_out(embsnap, run_dir):
    without = [word for part in ("spectrum", "duplicates", "updates") for word in ("--without", part)]
    document = json.loads(embsnap("stats", run_dir / "12", "--json", *without).stdout)
    user = document["tables"][0]
    assert (user["rows"]["spectrum"], user["duplicates"], user["rows"]["num_never_updated"]) == (None, None, None)


def test_a_dry_run_reads_and_writes_nothing(embsnap, run_dir, tmp_path):
    run = embsnap("stats", run_dir / "12", "--out", tmp_path / "x.csv", "--dry-run")
    assert run.exit_code == 0
    assert f"to write: {tmp_path}/x.csv" in run.stdout
    assert "dry run, nothing read or written: 504 B to read" in run.stdout
    assert not (tmp_path / "x.csv").exists()
    assert json.loads(embsnap("stats", run_dir / "12", "--dry-run", "--json").stdout)["num_bytes_to_read"] == 504


def test_outputs(embsnap, run_dir, tmp_path):
    names = [word for suffix in ("json", "csv", "prom", "parquet") for word in ("--out", tmp_path / f"x.{suffix}")]
    run = embsnap("stats", run_dir / "12", *names, "--tensorboard", tmp_path / "logs")
    assert run.exit_code == 0
    assert run.stdout.count("written: ") == 5
    assert json.loads((tmp_path / "x.json").read_text())["uri"] == str(run_dir / "12")
    assert embsnap("stats", run_dir / "12", "--out", tmp_path / "x.json").exit_code == 7
    assert embsnap("stats", run_dir / "7", "--out", tmp_path / "x.parquet").exit_code == 0
    assert len(list((tmp_path / "x.parquet").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nothing"], 3),
        (["run/12", "--table", "usr"], 3),
        (["run/12", "--out", "x.txt"], 2),
        (["run/12", "--near-zero", "-1"], 2),
        (["run/12", "--vocab", "user=nowhere"], 3),
        (["run@99"], 3),
    ],
)
def test_exit_codes(embsnap, run_dir, monkeypatch, arguments, code):
    monkeypatch.chdir(run_dir.parent)
    assert embsnap("stats", *arguments).exit_code == code


def test_history(embsnap, run_dir, tmp_path):
    kept = tmp_path / "h.parquet"
    run = embsnap("history", run_dir, "--out", kept)
    assert run.exit_code == 0
    assert f"run: {run_dir}, 2 committed steps, 2 of them read now" in run.stdout
    assert "post: step" in run.stdout
    assert f"kept in: {kept}" in run.stdout
    document = json.loads(embsnap("history", run_dir, "--out", kept, "--json").stdout)
    assert [step["is_new"] for step in document["steps"]] == [False, False]
    (mean,) = (
        series
        for series in document["series"]
        if (series["table"], series["statistic"], series["part"]) == ("post", "norm.mean", "all")
    )
    assert mean["values"] == [3.0, pytest.approx(14 / 3)]
    dry = embsnap("history", run_dir, "--out", kept, "--dry-run")
    assert "known, and not read again: steps 7, 12" in dry.stdout


def test_history_refuses(embsnap, run_dir, tmp_path):
    (tmp_path / "taken.parquet").write_bytes(b"mine")
    assert embsnap("history", run_dir, "--out", tmp_path / "taken.parquet").exit_code == 7
    assert embsnap("history", run_dir, "--out", tmp_path / "x.csv").exit_code == 2
    assert embsnap("history", tmp_path / "nothing").exit_code == 3


def test_on_an_object_store(embsnap, gcs):
    """Whose objects are no memory: rows come in large reads, and the history is kept there."""
    rows = np.random.default_rng(0).random((30_000, 8), np.float32)
    for step in (7, 12):
        write_arrays(gcs.uri(f"run/{step}"), {"user": rows * step})
    document = json.loads(embsnap("stats", gcs.uri("run@latest"), "--out", gcs.uri("x.csv"), "--json").stdout)
    mean = np.linalg.norm(rows.astype(float) * 12, axis=1).mean()
    assert document["tables"][0]["rows"]["norms"]["mean"] == pytest.approx(mean, rel=1e-6)
    for new in (True, False):
        run = embsnap("history", gcs.uri("run"), "--out", gcs.uri("h.parquet"), "--json")
        assert run.exit_code == 0
        assert [step["is_new"] for step in json.loads(run.stdout)["steps"]] == [new, new]
    sampled = embsnap("stats", gcs.uri("run@latest"), "--sample-rows", "100", "--json")
    assert json.loads(sampled.stdout)["tables"][0]["sample_rows"] == 100

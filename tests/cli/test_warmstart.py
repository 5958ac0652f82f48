"""`embsnap warmstart` and `embsnap restore` as typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embsnap.errors import ErrorKind
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


@pytest.fixture
def config(tmp_path: Path, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config whose URIs come from the environment, with entity 13 new and 10 gone."""
    write_arrays(f"{tmp_path}/run/7", {"user": rows})
    write_vocabulary(make_vocabulary([10, 11, 12, 14]), f"{tmp_path}/old.parquet")
    write_vocabulary(make_vocabulary([14, 13, 12, 11], counts=[5, 1, 3, 1]), f"{tmp_path}/new.parquet")
    monkeypatch.setenv("DAYS", str(tmp_path))
    path = tmp_path / "config.yaml"
    path.write_text(
        """model:
  embeddings:
    tables:
    - name: user
      num_embeddings: 5
      embedding_dim: 3
      vocab: ${DAYS}/new.parquet
      pretrained:
        emb_name: user
        embedding_snapshot_uri: ${DAYS}/run@latest
        vocab: ${DAYS}/old.parquet
    tables_to_log: [user]
"""
    )
    return path


@pytest.mark.parametrize("flags", [(), ("--no-model",)], ids=["live", "no model"])
def test_tomorrows_table(embsnap, config, rows, tmp_path, flags) -> None:
    run = embsnap("warmstart", config, "--out", tmp_path / "out", *flags)
    assert run.exit_code == 0, run.stderr
    table = read_array(f"{tmp_path}/out", "user")
    np.testing.assert_array_equal(table[[0, 2, 3]], rows[[3, 2, 1]])
    assert "75.00 %" in run.stdout
    assert "90.00 %" in run.stdout
    assert f"{np.linalg.norm(table, axis=1).mean():.6g}" in run.stdout
    assert ("pooled lookup user" in run.stdout) is (flags == ())
    assert run.stdout.splitlines()[-1].startswith(f"wrote {tmp_path}/out")


def test_a_line_break_in_a_table_s_name_makes_no_line(embsnap, config, tmp_path) -> None:
    text = (
        config.read_text()
        .replace("name: user\n      num", 'name: "us\\ner"\n      num')
        .replace("[user]", '["us\\ner"]')
    )
    config.write_text(text)
    run = embsnap("warmstart", config, "--out", tmp_path / "out", "--no-model")
    assert run.exit_code == 0, run.stderr
    assert not [line for line in run.stdout.splitlines() if line.startswith("er")]


def test_json(embsnap, config, tmp_path) -> None:
    run = embsnap("warmstart", config, "--out", tmp_path / "out", "--json", "--no-model")
    report = json.loads(run.stdout)
    assert (report["schema"], report["version"], report["applied"]) == ("embsnap.warmstart", 1, True)
    table = report["tables"][0]
    assert table["counts"] == {
        "carried": 3,
        "new": 1,
        "dropped": 1,
        "reserved": 0,
        "unoccupied": 1,
        "duplicate": 0,
    }
    assert (table["coverage"], table["weighted_coverage"]) == (0.75, 0.9)
    assert table["source_uri"] == f"{tmp_path}/run/7"


def test_a_dry_run_writes_nothing(embsnap, config, tmp_path) -> None:
    before = sorted(tmp_path.rglob("*"))
    run = embsnap("warmstart", config, "--dry-run", "--at", "model.embeddings")
    assert run.exit_code == 0, run.stderr
    assert "dry run, nothing written: 36 B to read, 60 B to write" in run.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_lineage_is_recorded(embsnap, config, tmp_path) -> None:
    embsnap("warmstart", config, "--out", tmp_path / "out", "--no-model")
    run = embsnap("inspect", tmp_path / "out", "--json")
    assert f"{tmp_path}/run/7" in run.stdout
    assert f"{tmp_path}/new.parquet" in run.stdout


def test_what_is_recorded_is_found_from_anywhere(embsnap, config, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAYS", ".")
    assert embsnap("warmstart", config, "--out", "out", "--no-model").exit_code == 0
    text = config.read_text().replace("${DAYS}/run@latest", f"{tmp_path}/out").replace("${DAYS}", str(tmp_path))
    config.write_text("".join(line for line in text.splitlines(keepends=True) if "old.parquet" not in line))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = embsnap("warmstart", config, "--dry-run")
    assert run.exit_code == 0, run.stderr
    (tmp_path / "new.parquet").rename(tmp_path / "moved.parquet")
    config.write_text(config.read_text().replace("new.parquet", "moved.parquet"))
    gone = embsnap("warmstart", config, "--dry-run")
    assert gone.exit_code == 3
    assert f"which {tmp_path}/out records for table user" in gone.stderr
    assert "set pretrained.vocab" in gone.stderr


def test_a_model_larger_than_memory(embsnap, config, tmp_path) -> None:
    cold = "    - {name: cold, num_embeddings: 1000000000000, embedding_dim: 3}\n    tables_to_log"
    config.write_text(config.read_text().replace("    tables_to_log", cold))
    dry = embsnap("warmstart", config, "--dry-run")
    assert "10.9 TiB to write, 10.9 TiB of memory" in dry.stdout
    run = embsnap("warmstart", config, "--out", tmp_path / "out")
    assert run.exit_code == 6
    assert "--no-model" in run.stderr
    assert not (tmp_path / "out").exists()


def test_usage(embsnap, config, tmp_path) -> None:
    run = embsnap("warmstart", config)
    assert run.exit_code == 2
    assert "--out" in run.stderr


@pytest.mark.parametrize(
    ("change", "exit_code", "says"),
    [
        (("--min-coverage", "0.8"), 1, "user coverage 0.7500 < 0.8"),
        (("--min-coverage", "nan"), 2, "'nan' is not a number"),
        (("--min-weighted-coverage", "nan"), 2, "'nan' is not a number"),
        (("--prefix", "nowhere"), 2, "model/ebc"),
        (("--at", "model.embedings"), 3, "embeddings"),
    ],
)
def test_exit_codes_of_options(embsnap, config, tmp_path, change, exit_code, says) -> None:
    run = embsnap("warmstart", config, "--out", tmp_path / "out", "--no-model", *change)
    assert run.exit_code == exit_code
    assert says in run.stderr
    assert run.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [(), ("--no-model",)], ids=["live", "no model"])
def test_a_run_that_fails_while_it_writes_leaves_nothing(embsnap, config, rows, tmp_path, flags) -> None:
    write_arrays(f"{tmp_path}/run/8", {"user": 1e6 * rows})
    config.write_text(config.read_text().replace("embedding_dim: 3", "embedding_dim: 3\n      data_type: fp16"))
    config.write_text(config.read_text().replace("pretrained:", "pretrained:\n        cast: true"))
    before = sorted(tmp_path.rglob("*"))
    run = embsnap("warmstart", config, "--out", tmp_path / "out" / "warm", *flags)
    assert run.exit_code == 5, run.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE: an environment variable is no number of a job"),
        ({"WORLD_SIZE": "0"}, "found '0'"),
        ({"WORLD_SIZE": "2"}, "found no RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "found no MASTER_PORT"),
        (
            {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
            "expected 0 to 1, found '2'",
        ),
    ],
)
def test_half_a_job_in_the_environment(embsnap, config, tmp_path, monkeypatch, variables, says) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run = embsnap("warmstart", config, "--out", tmp_path / "out", "--no-model")
    assert run.exit_code == 2, run.stderr
    assert says in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "exit_code"),
    [
        ("embedding_dim: 3", "embedding_dims: 3", 2),
        ("run@latest", "run@9", 3),
        ("emb_name: user", "emb_name: usr", 3),
        ("old.parquet", "older.parquet", 3),
        ("/run@latest", "", 4),
        ("embedding_dim: 3", "embedding_dim: 4", 5),
        ("num_embeddings: 5", "num_embeddings: 3", 5),
    ],
)
def test_exit_codes_of_configs(embsnap, config, tmp_path, old, new, exit_code) -> None:
    config.write_text(config.read_text().replace(old, new))
    run = embsnap("warmstart", config, "--out", tmp_path / "out", "--no-model")
    assert run.exit_code == exit_code, run.stderr
    assert not (tmp_path / "out").exists()


def test_a_config_without_a_pretrained_table_is_named(embsnap, config, tmp_path) -> None:
    config.write_text("tables:\n- {name: user, num_embeddings: 3, embedding_dim: 2}\n")
    done = embsnap("warmstart", config, "--out", tmp_path / "new", "--no-model")
    assert done.exit_code == 2
    assert f"{config}: no table has `pretrained`" in done.stderr


def test_a_taken_destination(embsnap, config, tmp_path) -> None:
    assert embsnap("warmstart", config, "--out", tmp_path / "out", "--no-model").exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    config.write_text(config.read_text().replace("old.parquet", "older.parquet"))
    for flags in ((), ("--no-model",), ("--dry-run",)):  # it is seen before the missing vocabulary
        assert embsnap("warmstart", config, "--out", tmp_path / "out", *flags).exit_code == 7
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_live_model_without_torch(config, tmp_path) -> None:
    without_torch = "import sys; sys.modules['torch'] = None; from embsnap.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", without_torch, "warmstart", config, "--json", "--out", tmp_path / "out"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2
    error = json.loads(run.stderr)
    assert error["kind"] == ErrorKind.MISSING_PACKAGE
    assert "--no-model" in error["hint"]
    assert subprocess.run([*command, "--no-model"], capture_output=True).returncode == 0


def test_rows_in_the_hosts_memory_need_a_gpu_to_be_cached_on(embsnap, config, tmp_path) -> None:
    run = embsnap("warmstart", config, "--device", "cpu", "--placement", "uvm_caching", "--out", tmp_path / "out")
    assert run.exit_code == 2
    assert "a CUDA device" in run.stderr
    assert not (tmp_path / "out" / ".snapshot_metadata").exists()


def test_restore(embsnap, config, rows, tmp_path) -> None:
    run = embsnap("restore", config, "--out", tmp_path / "out", "--no-model")
    assert run.exit_code == 5
    config.write_text(
        config.read_text().replace("new.parquet", "old.parquet").replace("num_embeddings: 5", "num_embeddings: 4")
    )
    run = embsnap("restore", config, "--out", tmp_path / "out")
    assert run.exit_code == 0, run.stderr
    np.testing.assert_array_equal(read_array(f"{tmp_path}/out", "user"), rows)

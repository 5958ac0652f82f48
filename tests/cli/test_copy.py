"""`embsnap copy`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary

ROWS = np.arange(100 * 8, dtype=np.float32).reshape(100, 8)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    write_arrays(str(tmp_path / "run" / "7"), {"user": ROWS})
    return tmp_path / "run" / "7"


def test_a_snapshot(embsnap, snapshot, tmp_path) -> None:
    dry = embsnap("copy", f"{tmp_path}/run@latest", tmp_path / "out", "--dry-run")
    assert dry.exit_code == 0
    assert "dry run, nothing written: 4 objects, " in dry.stdout
    assert not (tmp_path / "out").exists()
    run = embsnap("copy", f"{tmp_path}/run@latest", tmp_path / "out")
    assert (run.exit_code, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[0].startswith(f"snapshot {snapshot}: 4 objects, ")
    assert lines[1] == f"to {tmp_path}/out"
    assert lines[2].startswith("checksums known beforehand: 1 object, 3.1 KiB; not known: 3 objects, ")
    assert lines[-1].startswith("copied 4 objects, ")
    np.testing.assert_array_equal(read_array(f"{tmp_path}/out", "user"), ROWS)


def test_as_json(embsnap, snapshot, tmp_path) -> None:
    result = json.loads(embsnap("copy", snapshot, tmp_path / "out", "--json").stdout)
    assert (result["schema"], result["version"], result["what"], result["applied"]) == (
        "embsnap.copy",
        1,
        "snapshot",
        True,
    )
    assert result["copied"] == result["total"]
    assert result["present"] == {"num_objects": 0, "num_bytes": 0}


def test_a_vocabulary(embsnap, tmp_path) -> None:
    write_vocabulary(make_vocabulary([1, 2, 3]), f"{tmp_path}/user")
    (tmp_path / "user" / "readme.txt").write_text("x")
    run = embsnap("copy", tmp_path / "user", "memory://copies/user")
    assert run.exit_code == 0
    assert run.stdout.startswith(f"parquet files of {tmp_path}/user: 1 object, ")
    assert "note: " in run.stdout
    assert "[not-copied]" in run.stdout
    run = embsnap("copy", "memory://copies/user/part-00000.parquet", tmp_path / "one.parquet")
    assert run.stdout.startswith("file memory://copies/user/part-00000.parquet: 1 object, ")
    assert embsnap("vocab", "inspect", tmp_path / "one.parquet").exit_code == 0


def test_what_there_is_already(embsnap, snapshot, tmp_path) -> None:
    embsnap("copy", snapshot, tmp_path / "out")
    (tmp_path / "out" / ".snapshot_metadata").unlink()
    claim = {"schema": "embsnap.copy", "version": 1, "objects": {}}
    digest = json.loads(embsnap("copy", snapshot, tmp_path / "x", "--json").stdout)["digest"]
    (tmp_path / "out" / ".embsnap" / "copy.json").write_text(json.dumps({**claim, "digest": digest}))
    dry = embsnap("copy", snapshot, tmp_path / "out", "--dry-run")
    assert "there already by their size: 3 objects, " in dry.stdout
    run = embsnap("copy", snapshot, tmp_path / "out", "--threads", 1)
    assert "there already and compared: 3 objects, " in run.stdout
    assert "copied 1 object, " in run.stdout


@pytest.mark.parametrize(
    ("source", "to", "exit_code", "message"),
    [
        ("nothing", "out", 3, "there is nothing"),
        ("run", "out", 4, "is not a snapshot"),
        ("run/7", "run/7", 7, "this very snapshot already"),
        ("run/7", "run/7/backup", 2, "lies within"),
    ],
)
def test_what_is_refused(embsnap, snapshot, tmp_path, source, to, exit_code, message) -> None:
    run = embsnap("copy", tmp_path / source, tmp_path / to)
    assert (run.exit_code, run.stdout) == (exit_code, "")
    assert message in run.stderr


def test_an_error_is_json_too(embsnap, tmp_path) -> None:
    run = embsnap("copy", tmp_path / "nothing", tmp_path / "out", "--json")
    assert json.loads(run.stderr)["kind"] == "no-such-object"


def test_options_of_both_stores(embsnap, snapshot, tmp_path) -> None:
    options = ("--storage-option", "timeout=5", "--to-storage-option", "project=p")
    assert embsnap("copy", snapshot, tmp_path / "out", *options).exit_code == 0
    assert embsnap("copy", snapshot, tmp_path / "b", "--to-storage-option", "project").exit_code == 2

"""`embsnap gc`, as typed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from embsnap.testing.tables import read_array, write_arrays

ROWS = np.arange(100 * 8, dtype=np.float32).reshape(100, 8)
DEAD = "embsnap/abababababab-0"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """Committed, beside two objects that a run left two days ago and one that another left just now."""
    root = tmp_path / "run" / "7"
    write_arrays(str(root), {"user": ROWS})
    for name in (f"{DEAD}/run.json", f"{DEAD}/00000"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(bytes(1000))
        os.utime(root / name, (time.time() - 172800,) * 2)
    (root / "embsnap" / "cdcdcdcdcdcd-0").mkdir()
    (root / "embsnap" / "cdcdcdcdcdcd-0" / "run.json").write_bytes(b"{}")
    return root


def test_shown_and_then_deleted(embsnap, snapshot) -> None:
    run = embsnap("gc", snapshot)
    assert (run.exit_code, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[1].split() == ["delete", "run", "abababababab-0", "2", "2.0", "KiB", "2", "d", str(snapshot)]
    assert lines[2].split()[:3] == ["keep", "run", "cdcdcdcdcdcd-0"]
    assert "1 committed snapshot; what was written to in the last 1 d is kept" in run.stdout
    assert lines[-1] == "dry run, nothing deleted: 2 objects, 2.0 KiB to delete; give --apply to delete them"
    assert (snapshot / DEAD).exists()
    run = embsnap("gc", snapshot, "--apply")
    assert run.stdout.splitlines()[-1] == "deleted 2 objects, 2.0 KiB"
    assert not (snapshot / DEAD).exists()
    assert (snapshot / "embsnap" / "cdcdcdcdcdcd-0").exists()
    assert embsnap("gc", snapshot, "--older-than", "0", "--apply").stdout.endswith("deleted 1 objects, 2 B\n")
    assert embsnap("gc", snapshot).stdout.splitlines()[-1] == "nothing to delete"
    np.testing.assert_array_equal(read_array(str(snapshot), "user"), ROWS)


def test_a_run_as_json(embsnap, snapshot) -> None:
    result = json.loads(embsnap("gc", snapshot.parent, "--older-than", "7d", "--json").stdout)
    assert (result["schema"], result["version"], result["applied"]) == ("embsnap.gc", 1, False)
    assert (result["older_than_s"], result["num_roots"], result["num_snapshots"]) == (604800, 2, 1)
    assert [each["collected"] for each in result["leftovers"]] == [False, False]
    assert result["num_objects"] == 0


def test_an_unreadable_step_shows_in_the_exit_code(embsnap, snapshot) -> None:
    (snapshot / ".snapshot_metadata").write_text("{")
    run = embsnap("gc", snapshot.parent, "--apply")
    assert run.exit_code == 1
    assert "left alone, since nobody can tell what it needs" in run.stdout
    assert embsnap("gc", snapshot).exit_code == 4
    assert (snapshot / DEAD).exists()


@pytest.mark.parametrize("age", ["24", "soon", "-1h"])
def test_an_age_that_is_none(embsnap, snapshot, age) -> None:
    run = embsnap("gc", snapshot, f"--older-than={age}")
    assert run.exit_code == 2
    assert "write for example 90m, 24h or 7d" in run.stderr


def test_nothing_there(embsnap, tmp_path) -> None:
    assert embsnap("gc", tmp_path / "nothing").exit_code == 3

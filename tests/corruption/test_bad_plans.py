"""Migration plans that are hostile, huge or senseless: refused with where they are wrong, and nothing is written."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from embsnap.testing.tables import read_array, write_arrays

PLANS = {
    "empty": "",
    "no steps": "steps: []",
    "a number": "3",
    "not yaml": "steps: [}",
    "an alias": "steps: &a\n- rename: {tables: {user: x}}\nmore: *a",
    "billion laughs": "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nsteps: [*b, *b]",
    "a tag": "steps:\n- !!python/object/apply:os.system [touch canary]",
    "a merge key": "base: {drop: {tables: user}}\nsteps:\n- <<: {drop: {tables: user}}",
    "deep": "steps: " + "[" * 3000 + "]" * 3000,
    "a key twice": "steps:\n- rename: {tables: {user: a}}\n  rename: {tables: {user: b}}",
    "two kinds": "steps:\n- {drop: {tables: user}, keep: {tables: post}}",
    "unknown kind": "steps:\n- explode: {tables: user}",
    "unknown field": "steps:\n- drop: {tables: user, force: true}",
    "no such table": "steps:\n- drop: {tables: nobody}",
    "name of a path": "steps:\n- rename: {tables: {user: ../../etc/passwd}}",
    "name with control characters": 'steps:\n- rename: {tables: {user: "a\\e[2Jb"}}',
    "name with NUL": 'steps:\n- rename: {tables: {user: "a\\0b"}}',
    "name with a lone surrogate": 'steps:\n- rename: {tables: {user: "\\uD800"}}',
    "one name for two": "steps:\n- rename: {tables: {user: x, post: x}}",
    "negative rows": "steps:\n- resize: {table: user, rows: -1}",
    "rows beyond 64 bits": "steps:\n- resize: {table: user, rows: 1000000000000000000000000, initializer: zeros}",
    "rows beyond any memory": "steps:\n- resize: {table: user, rows: 140737488355328, initializer: zeros}",
    "a width beyond any memory": "steps:\n- dim: {table: user, to: 140737488355328, by: pad, initializer: zeros}",
    "ranks beyond any job": "steps:\n- shard: {world_size: 1000000000}",
    "rows that are no number": "steps:\n- resize: {table: user, rows: .nan}",
    "an infinite norm": "steps:\n- normalize: {tables: user, max_norm: .inf, low: .nan}",
    "no dimension": "steps:\n- dim: {table: user, to: 0, by: pad}",
    "a matrix outside": "steps:\n- dim: {table: user, to: 2, by: matrix, matrix: /dev/zero}",
    "a vocabulary that is none": "steps:\n- revocab: {table: user, vocab: /dev/zero}",
    "name that looks like a variable": "steps:\n- rename: {tables: {user: '${NO_SUCH_NAME}'}}",
    "a script inside": 'steps:\n- function: \'lambda rows: __import__("os").system("touch canary")\'',
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows = np.arange(24, dtype=np.float32).reshape(6, 4)
    write_arrays(f"{tmp_path}/old", {"user": rows, "post": rows})
    return tmp_path / "old"


@pytest.mark.parametrize("name", PLANS)
def test_a_bad_plan(embsnap, source, tmp_path, name, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text(PLANS[name])
    started = time.process_time()
    run = embsnap("migrate", tmp_path / "plan.yaml", source, "--out", tmp_path / "new", "--json")
    if run.exit_code == 0:  # an odd name is a name: it is kept in the snapshot, and shown escaped
        assert name.startswith("name ")
        shown = embsnap("inspect", tmp_path / "new").stdout
        assert not any(ord(character) < 32 and character != "\n" for character in shown)
        return
    error = json.loads(run.stderr)
    assert run.exit_code in (2, 3, 4, 5, 6)
    assert error["message"].isprintable() or "\n" in error["message"]
    assert "\x1b" not in error["message"]
    assert time.process_time() - started < 10
    assert [path for path in (tmp_path / "new").rglob("*") if path.is_file()] == []
    assert not (tmp_path / "canary").exists()


def test_a_huge_plan_is_refused(embsnap, source, tmp_path) -> None:
    (tmp_path / "plan.yaml").write_text("steps:\n" + "- drop: {tables: user}\n" * 200_000)
    started = time.process_time()
    assert embsnap("migrate", tmp_path / "plan.yaml", source, "--out", tmp_path / "new").exit_code == 2
    assert time.process_time() - started < 30
    assert not (tmp_path / "new").exists()


def test_renaming_back_and_forth_a_thousand_times(embsnap, source, tmp_path) -> None:
    steps = "".join(f"- rename: {{tables: {{t{i}: t{i + 1}}}}}\n" for i in range(1000))
    (tmp_path / "plan.yaml").write_text("steps:\n- rename: {tables: {user: t0}}\n" + steps)
    run = embsnap("migrate", tmp_path / "plan.yaml", source, "--out", tmp_path / "new")
    assert run.exit_code == 0, run.stderr
    assert np.array_equal(read_array(f"{tmp_path}/new", "t1000"), read_array(str(source), "user"))

"""`embsnap migrate`, and what `inspect --lineage` shows of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.testing.tables import read_array, write_arrays

ROWS = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path) -> str:
    write_arrays(str(tmp_path / "source"), {"user": ROWS, "item": ROWS[:50]})
    return str(tmp_path / "source")


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


PLAN = """
steps:
- rename: {tables: {user: member}}
- resize: {table: member, rows: 310, initializer: zeros}
- cast: {tables: member, to: fp16}
"""


def test_a_plan_is_planned_applied_shown_and_done_again(embsnap, source: str, tmp_path: Path) -> None:
    plan, out = written(tmp_path / "plan.yaml", PLAN), tmp_path / "out"
    dry = embsnap("migrate", plan, source, "--dry-run")
    assert (dry.exit_code, dry.stderr) == (0, "")
    assert "dry run, nothing written: " in dry.stdout
    assert not out.exists()
    done = embsnap("migrate", plan, source, "--out", out, "--json")
    report = json.loads(done.stdout)
    assert [table["copied"] for table in report["tables"]] == [False, True]
    assert report["tables"][0]["counts"] == {"added": 10}
    np.testing.assert_array_equal(read_array(str(out), "member")[:300], ROWS.astype(np.float16))
    shown = embsnap("inspect", out, "--lineage")
    assert f"{out} (" in shown.stdout.splitlines()[0]
    assert "by migrate: rename, resize, cast" in shown.stdout
    assert source in shown.stdout.splitlines()[1]
    again = embsnap("migrate", "--replay", out)
    assert again.exit_code == 0
    embsnap("migrate", written(tmp_path / "again.yaml", again.stdout), source, "--out", tmp_path / "again")
    first, second = ((tmp_path / name / ".snapshot_metadata").read_text() for name in ("out", "again"))
    assert first == second
    for more in ((), ("--dry-run",)):
        assert embsnap("migrate", plan, source, "--out", out, *more).exit_code == 7


def test_the_chain_of_a_migration_of_a_migration(embsnap, source: str, tmp_path: Path) -> None:
    plan = written(tmp_path / "one.yaml", "steps: [{rename: {tables: {user: member}}}]")
    embsnap("migrate", plan, source, "--out", tmp_path / "one")
    plan = written(tmp_path / "two.yaml", "steps: [{drop: {tables: item}}]")
    embsnap("migrate", plan, tmp_path / "one", "--out", tmp_path / "two")
    chain = json.loads(embsnap("inspect", tmp_path / "two", "--lineage", "--json").stdout)["chain"]
    assert [Path(ancestor["uri"]).name for ancestor in chain] == ["two", "one", "source"]
    assert [ancestor["generation"] for ancestor in chain] == [0, 1, 2]
    back = embsnap("migrate", "--reverse", tmp_path / "two")
    assert back.exit_code == 1
    assert "step 1 (drop) has no inverse: the rows of item are only in the snapshot that they came from" in back.stdout
    back = embsnap("migrate", "--reverse", tmp_path / "one")
    assert back.exit_code == 0
    embsnap("migrate", written(tmp_path / "back.yaml", back.stdout), tmp_path / "one", "--out", tmp_path / "back")
    np.testing.assert_array_equal(read_array(str(tmp_path / "back"), "user"), ROWS)
    assert embsnap("migrate", "--replay", source).exit_code == 3


def test_a_script(embsnap, source: str, tmp_path: Path) -> None:
    script = written(
        tmp_path / "double.py",
        "def double(rows_N, rows_ND):\n    return rows_ND * 2\n\n\n"
        "def migrate(migration):\n    return migration.map_rows('user', double).drop('item')\n",
    )
    done = embsnap("migrate", script, source, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(read_array(str(tmp_path / "out"), "user"), ROWS * 2)
    assert "# step 1 (double) is a function of a script" in embsnap("migrate", "--replay", tmp_path / "out").stdout
    empty = written(tmp_path / "empty.py", "")
    assert embsnap("migrate", empty, source, "--out", tmp_path / "x").exit_code == 2
    assert embsnap("migrate", tmp_path / "none.py", source, "--out", tmp_path / "x").exit_code == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nosuch", "the script failed: ModuleNotFoundError: No module named 'nosuch'"),
        ("def migrate(migration:", "the script failed: SyntaxError"),
        ("def migrate(migration):\n    return migration.cast('user', 'fp99')", "expected 'fp64', 'fp32'"),
        (
            "def migrate(migration):\n    return migration.map_rows('user', lambda n, r: 1 / 0, name='half')",
            "custom step half: the function failed: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_what_fails_in_a_script_is_no_bug_of_embsnap(embsnap, source: str, tmp_path: Path, text, message) -> None:
    found = embsnap("migrate", written(tmp_path / "script.py", text), source, "--out", tmp_path / "out")
    assert (found.exit_code, message in found.stderr) == (2, True), found.stderr


def test_a_snapshot_of_nothing_is_refused(embsnap, source: str, tmp_path: Path) -> None:
    plan = written(tmp_path / "plan.yaml", "steps: [{drop: {tables: [user, item]}}]")
    found = embsnap("migrate", plan, source, "--out", tmp_path / "out")
    assert (found.exit_code, "keep at least one table" in found.stderr) == (2, True)


def test_vocabularies_that_steps_make_are_named(embsnap, source: str, tmp_path: Path) -> None:
    ids = pa.array(range(300))
    pq.write_table(pa.table({"id": ids, "row": ids, "count": ids}), tmp_path / "vocab.parquet")
    steps = f"[{{vocab: {{table: user, vocab: {tmp_path}/vocab.parquet}}}}, {{prune: {{table: user, top: 7}}}}]"
    plan = written(tmp_path / "plan.yaml", f"steps: {steps}")
    report = json.loads(embsnap("migrate", plan, source, "--out", tmp_path / "out", "--json").stdout)
    assert [table["vocabulary"] for table in report["tables"]] == [f"{tmp_path}/out-vocab/user.parquet", None]
    assert (tmp_path / "out-vocab" / "user.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ([], 2, "Missing argument 'PLAN'"),
        (["{plan}"], 2, "Missing argument 'FROM'"),
        (["{plan}", "{source}"], 2, "Missing option '--out'"),
        (["{plan}", "--replay", "{source}"], 2, "stand alone"),
        (["{wrong}", "{source}", "--out", "{out}"], 2, "did you mean rename?"),
        (["{plan}", "{source}", "--out", "{out}", "--table", "usre"], 3, "there is no table usre"),
        (["{plan}", "{source}/nothing", "--out", "{out}"], 3, ""),
        (["{plan}", "{source}", "--out", "{out}", "--max-error", "1e-9"], 5, "casting to float16"),
    ],
)
def test_what_is_wrong_is_said(embsnap, source: str, tmp_path: Path, arguments, exit_code, message) -> None:
    names = {
        "plan": written(tmp_path / "plan.yaml", PLAN),
        "wrong": written(tmp_path / "wrong.yaml", "steps: [{renam: {tables: {a: b}}}]"),
        "source": source,
        "out": tmp_path / "out",
    }
    found = embsnap("migrate", *(argument.format(**names) for argument in arguments))
    assert found.exit_code == exit_code
    assert message in found.stderr
    assert not (tmp_path / "out" / ".snapshot_metadata").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kills", range(3))
def test_killed_and_resumed(embsnap, tmp_path: Path, kills: int) -> None:
    """Killed while objects are written, once more, and resumed: the same bytes as in one go."""
    rows = np.random.default_rng(1).normal(size=(1_200_000, 64)).astype(np.float32)
    write_arrays(str(tmp_path / "source"), {"user": rows, "item": rows[:1000]})
    plan = written(
        tmp_path / "plan.yaml", "steps: [{cast: {tables: [user, item], to: bf16}}, {copy: {table: user, to: c}}]"
    )
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "embsnap",
        "migrate",
        plan,
        str(tmp_path / "source"),
        "--out",
        str(out),
        "--resume",
    ]
    for number in range(kills):
        process = subprocess.Popen([*command, "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while (
            process.poll() is None and sum(path.stat().st_size for path in out.rglob("*[0-9]") if path.is_file()) == 0
        ):
            time.sleep(0.01)
        time.sleep(0.05 * number)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 or "holds a snapshot already" in done.stderr, done.stderr
    embsnap("migrate", plan, tmp_path / "source", "--out", tmp_path / "whole")
    for name in ("user", "item", "c"):
        assert read_array(str(out), name).tobytes() == read_array(str(tmp_path / "whole"), name).tobytes()

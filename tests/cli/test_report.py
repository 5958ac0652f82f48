"""`embsnap report` as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embsnap.testing.tables import write_arrays


@pytest.fixture
def run_dir(tmp_path):
    """A run of two steps, of which the second has a row that is not finite."""
    user = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    write_arrays(f"{tmp_path}/run/7", {"user": user})
    user[3, 1] = np.nan
    write_arrays(f"{tmp_path}/run/8", {"user": user})
    return tmp_path / "run"


def test_text(embsnap, run_dir, tmp_path):
    run = embsnap("report", run_dir, "--out", tmp_path / "page.html", "--quiet")
    assert (run.exit_code, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[:3] == [
        f"report on: {run_dir}/8, tables: 1",
        f"compared with: {run_dir}/7",
        f"steps of {run_dir}: 2",
    ]
    assert "error: user: 1 row has a NaN or an infinity [non-finite-rows]" in lines
    assert lines[-1] == f"wrote {tmp_path}/page.html; open it in a browser, it needs no network"
    assert (tmp_path / "page.html").read_bytes().startswith(b"<!DOCTYPE html>")


def test_json_is_what_the_other_commands_say(embsnap, run_dir, tmp_path):
    run = embsnap("report", run_dir / "8", "--before", run_dir / "7", "--out", tmp_path / "page.html", "--json")
    report = json.loads(run.stdout)
    assert (report["schema"], report["version"], report["destination"]) == (
        "embsnap.report",
        1,
        f"{tmp_path}/page.html",
    )
    stats = json.loads(embsnap("stats", run_dir / "8", "--json").stdout)
    diff = json.loads(embsnap("diff", run_dir / "7", run_dir / "8", "--show", 20, "--json").stdout)
    inspection = json.loads(embsnap("inspect", run_dir / "8", "--json").stdout)
    assert report["stats"]["tables"] == stats["tables"]
    assert report["diff"]["tables"] == diff["tables"]
    assert report["inspection"]["tables"] == inspection["tables"]


def test_a_dry_run_writes_nothing(embsnap, run_dir, tmp_path):
    run = embsnap("report", run_dir, "--out", tmp_path / "page.html", "--dry-run")
    assert run.exit_code == 0
    assert f"to compare: {run_dir}/7 and {run_dir}/8" in run.stdout
    assert run.stdout.splitlines()[-1] == "dry run, nothing written: 1.2 KiB to read"
    assert not (tmp_path / "page.html").exists()
    plan = json.loads(embsnap("report", run_dir, "--dry-run", "--json").stdout)
    assert (plan["schema"], plan["num_bytes_to_read"]) == ("embsnap.report-plan", 4 * 20 * 4 * 4)


def test_a_taken_destination(embsnap, run_dir, tmp_path):
    (tmp_path / "page.html").write_text("mine")
    run = embsnap("report", run_dir, "--out", tmp_path / "page.html")
    assert run.exit_code == 7
    assert "is there already" in run.stderr
    assert (tmp_path / "page.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["{}/run"], 2, "--out"),
        (["{}/run", "--out", "{}/p.html", "--history", "{}/kept.csv"], 2, "must end in .parquet"),
        (["{}/nothing", "--out", "{}/p.html"], 3, "nothing"),
        (["{}/nothing.json", "--out", "{}/p.html"], 3, "nothing.json"),
        (["{}/bad.json", "--out", "{}/p.html"], 2, "--json"),
        (["{}/run", "--table", "post", "--out", "{}/p.html"], 3, "post"),
    ],
)
def test_refusals(embsnap, run_dir, tmp_path, arguments, exit_code, said):
    (tmp_path / "bad.json").write_text("{}")
    run = embsnap("report", *(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert run.exit_code == exit_code
    assert said in run.stderr
    assert not (tmp_path / "p.html").exists()

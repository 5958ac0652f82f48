"""`embsnap diff` as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary


@pytest.fixture
def days(tmp_path):
    """Five entities, of which one is new, one gone and one was turned around; all rows moved."""
    rows = np.arange(1, 21, dtype=np.float32).reshape(5, 4)
    write_arrays(f"{tmp_path}/a", {"user": rows})
    write_arrays(f"{tmp_path}/b", {"user": np.concatenate([rows[1:3], -rows[3:4], rows[4:], rows[:1]])})
    write_vocabulary(make_vocabulary([10, 11, 12, 13, 14]), f"{tmp_path}/va.parquet")
    write_vocabulary(make_vocabulary([11, 12, 13, 14, 15], counts=[5, 4, 3, 2, 1]), f"{tmp_path}/vb.parquet")
    return tmp_path


@pytest.fixture
def diff(embsnap, days):
    def run(*more):
        vocabularies = ("--vocab-a", f"user={days}/va.parquet", "--vocab-b", f"user={days}/vb.parquet")
        return embsnap("diff", days / "a", days / "b", *vocabularies, *more)

    return run


def test_what_it_prints(diff):
    run = diff("--neighbors", 2, "--procrustes", "--bit-exact", "--show", 1)
    assert run.exit_code == 1, run.stderr
    lines = [line.strip() for line in run.stdout.splitlines()]
    assert "table user: 5 and 5 rows, matched by entity" in lines
    assert lines[lines.index("shared  moved  born  gone") + 1].split() == ["4", "4", "1", "1"]
    assert "identical: 3, not finite: 0, zero: 0" in lines
    assert "cosine<0.9: 1 rows, 25.00 %" in lines
    movers = lines.index("top movers")
    assert lines[movers + 2].split()[:4] == ["13", "3", "2", "3"]
    assert "bits of weight: 1 of 4 rows differ, e.g. 13" in lines
    assert any(line.startswith("neighbours kept: ") for line in lines)
    assert any(line.startswith("Procrustes over 4 rows: ") for line in lines)
    assert lines[-1] == "the snapshots differ"


def test_the_numbers_as_json(diff):
    found = json.loads(diff("--json").stdout)
    assert (found["schema"], found["version"]) == ("embsnap.diff", 1)
    (table,) = found["tables"]
    assert table["matching"]["born"] == [{"id": 15, "row": 4, "count": 1}]
    assert (table["movers"][0]["id"], table["movers"][0]["cosine"]) == (13, -1)
    assert table["drift"]["cosine"]["min"] == -1
    assert found["same"] is False


@pytest.mark.parametrize(
    ("conditions", "exit_code", "said"),
    [
        (("cosine.p50<0.8",), 0, "passed: cosine.p50<0.8: table user is 1"),
        (("cosine.p50<0.8", "user:gone>0"), 1, "FAILED: user:gone>0: table user is 1"),
        (("post:gone>0",), 1, "FAILED: post:gone>0: table post has no such value"),
    ],
)
def test_gates_decide_the_exit_code(diff, conditions, exit_code, said):
    run = diff(*(word for condition in conditions for word in ("--fail-if", condition)))
    assert run.exit_code == exit_code
    assert said in run.stdout.splitlines()


def test_a_snapshot_and_itself(embsnap, days):
    run = embsnap("diff", days / "a", days / "a")
    assert run.exit_code == 0
    assert "table user: 5 and 5 rows, matched by position, row by row" in run.stdout
    assert run.stdout.splitlines()[-1] == "the snapshots are the same"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--fail-if", "cosine.p5 0.8"), 2, "is no condition"),
        (("--table", "post"), 3, "there is no such table"),
        (("--vocab-a", "user"), 2, "TABLE=URI"),
    ],
)
def test_what_is_refused(embsnap, days, arguments, exit_code, said):
    run = embsnap("diff", days / "a", days / "b", *arguments)
    assert run.exit_code == exit_code
    assert said in run.stderr


def test_a_vocabulary_on_one_side(embsnap, days):
    run = embsnap("diff", days / "a", days / "b", "--vocab-a", f"user={days}/va.parquet")
    assert run.exit_code == 5
    assert "give --vocab-b user=URI, or --by-position" in run.stderr

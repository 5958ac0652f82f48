"""`embsnap lookup` as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"


@pytest.fixture
def root(tmp_path):
    rows = np.array([[3, 4], [6, 8], [-4, 3]], np.float32)
    write_arrays(f"{tmp_path}/a", {"user": rows}, {STATE: np.array([1, 2, 3], np.float32)})
    write_arrays(f"{tmp_path}/b", {"user": rows[::-1]})
    write_vocabulary(make_vocabulary(["ann", "bob", "cyd"], counts=[7, 8, 9]), f"{tmp_path}/va.parquet")
    write_vocabulary(make_vocabulary(["cyd", "bob", "dan"]), f"{tmp_path}/vb.parquet")
    return tmp_path


def test_what_it_prints(embsnap, root):
    run = embsnap("lookup", root / "a", "--vocab", root / "va.parquet", "--id", "ann", "--neighbors", 1)
    assert run.exit_code == 0, run.stderr
    assert run.stdout.splitlines() == [
        f"table user of {root}/a: 3 rows of 2 float32, vocabulary {root}/va.parquet",
        "",
        "id ann",
        "  row 0, count 7, norm 5",
        "    values 3 4",
        "    momentum1 1",
        "    nearest  row  cosine",
        "    bob        1       1",
    ]


def test_two_snapshots(embsnap, root):
    against = ("--against", root / "b", "--vocab-against", root / "vb.parquet")
    run = embsnap("lookup", root / "a", "--vocab", root / "va.parquet", "--id", "bob", "--id", "ann", *against)
    assert run.exit_code == 1
    lines = run.stdout.splitlines()
    assert "  distance 0, cosine 1, relative L2 0" in lines
    assert lines[-1] == "  against: not there"


def test_ids_from_a_file_as_json(embsnap, root):
    (root / "ids.txt").write_text("cyd\nnobody\n")
    run = embsnap("lookup", root / "a", "--vocab", root / "va.parquet", "--ids-from", root / "ids.txt", "--json")
    assert run.exit_code == 1
    found = json.loads(run.stdout)
    assert (found["schema"], found["missing"]) == ("embsnap.lookup", ["nobody"])
    assert found["entities"][0]["found"]["values"] == [-4, 3]


def test_nothing_found(embsnap, root):
    run = embsnap("lookup", root / "a", "--vocab", root / "va.parquet", "--id", "nobody")
    assert run.exit_code == 3
    assert run.stdout.splitlines()[-1] == "not found: id nobody"


def test_no_vocabulary(embsnap, root):
    run = embsnap("lookup", root / "a", "--id", "ann")
    assert run.exit_code == 5
    assert "give --vocab URI" in run.stderr


def test_nothing_asked_for(embsnap, root):
    assert embsnap("lookup", root / "a").exit_code == 2

"""`embsnap projector` as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary


@pytest.fixture
def root(tmp_path):
    write_arrays(f"{tmp_path}/run", {"user": np.arange(8, dtype=np.float32).reshape(4, 2)})
    write_vocabulary(make_vocabulary([7, 8, 9, 10], counts=[1, 4, 3, 2]), f"{tmp_path}/vocab.parquet")
    return tmp_path


@pytest.fixture
def projector(embsnap, root):
    return lambda *more: embsnap("projector", root / "run", "--vocab", f"user={root}/vocab.parquet", *more)


def test_the_files(projector, root):
    run = projector("--out", root / "out", "--sample", 2)
    assert run.exit_code == 0, run.stderr
    assert (root / "out" / "user.tsv").read_text() == "2\t3\n4\t5\n"
    assert (root / "out" / "user_metadata.tsv").read_text().splitlines()[1] == "8\t1\t4\t3.60555"
    assert run.stdout.splitlines()[-1].endswith(f"show it with: tensorboard --logdir {root}/out")


def test_a_dry_run_writes_nothing(projector, root):
    run = projector("--dry-run", "--json", "--out", root / "out")
    found = json.loads(run.stdout)
    assert (found["schema"], found["destination"]) == ("embsnap.projector", None)
    assert not (root / "out").exists()
    assert "dry run, nothing written" in projector("--dry-run").stdout


def test_without_a_destination(projector):
    run = projector()
    assert run.exit_code == 2
    assert "--out" in run.stderr


def test_a_taken_destination(projector, root):
    assert projector("--out", root / "out").exit_code == 0
    assert projector("--out", root / "out").exit_code == 7


def test_a_vocabulary_of_no_table(embsnap, root):
    assert embsnap("projector", root / "run", "--vocab", "post=x", "--dry-run").exit_code == 3


def test_a_vocabulary_without_its_table(embsnap, root):
    run = embsnap("projector", root / "run", "--vocab", "x", "--dry-run")
    assert run.exit_code == 2
    assert "'x' is not of the form TABLE=URI" in run.stderr

"""Checksums are compared while rows are read, unless `--no-check` is given."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embsnap.testing.corruptors import flip_bit, object_of
from embsnap.testing.tables import read_array, write_arrays

PATH = "model/ebc.embedding_bags.user.weight"
ROWS = np.arange(1, 4001, dtype=np.float32).reshape(1000, 4)


@pytest.fixture
def config(tmp_path):
    """A warm start by position from a snapshot in which one bit has flipped."""
    write_arrays(f"{tmp_path}/old", {"user": ROWS})
    flip_bit(object_of(tmp_path / "old", f"0/{PATH}"), 8000)
    file = tmp_path / "config.yaml"
    file.write_text(
        f"""tables:
- name: user
  num_embeddings: 1000
  embedding_dim: 4
  pretrained: {{emb_name: user, embedding_snapshot_uri: {tmp_path}/old, by_position: true}}
"""
    )
    return file


def test_a_damaged_block_stops_a_warm_start(embsnap, config, tmp_path):
    run = embsnap("warmstart", config, "--out", tmp_path / "new", "--no-model")
    assert run.exit_code == 4
    assert "the bytes [0, 16000) are not those that were written" in run.stderr
    assert not (tmp_path / "new" / ".snapshot_metadata").exists()
    assert list((tmp_path / "new").rglob("0*")) == []


def test_unless_nobody_wants_to_know(embsnap, config, tmp_path):
    run = embsnap("warmstart", config, "--out", tmp_path / "new", "--no-model", "--no-check")
    assert run.exit_code == 0
    assert "1,000 old rows read without a checksum to compare them with" in run.stdout
    assert (read_array(str(tmp_path / "new"), "user") != ROWS).sum() == 1


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ("stats {}/old", lambda found: found["num_unchecked_rows"]),
        ("diff {}/old {}/old --by-position", lambda found: found["a"]["num_unchecked_rows"]),
        ("lookup {}/old --row 0 --neighbors 2", lambda found: found["table"]["num_unchecked_rows"]),
        ("migrate {}/plan.yaml {}/old --out {}/migrated", lambda found: found["num_unchecked_rows"]),
    ],
    ids=["stats", "diff", "lookup", "migrate"],
)
def test_other_commands_that_read_rows(embsnap, config, tmp_path, arguments, count):
    (tmp_path / "plan.yaml").write_text("steps:\n- resize: {table: user, rows: 999, shrink: truncate}\n")
    command = arguments.replace("{}", str(tmp_path)).split()
    checked = embsnap(*command, "--json")
    assert checked.exit_code == 4
    assert json.loads(checked.stderr)["kind"] == "checksum-mismatch"
    assert not (tmp_path / "migrated").exists() or not list((tmp_path / "migrated").rglob("0*"))
    unchecked = embsnap(*command, "--json", "--no-check")
    assert unchecked.exit_code == 0, unchecked.stderr
    assert count(json.loads(unchecked.stdout)) >= 999

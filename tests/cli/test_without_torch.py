"""What works where torch is not installed, and what says that it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from embsnap.testing.tables import write_arrays

_CONFIG = """
tables:
- name: user
  num_embeddings: 4
  embedding_dim: 3
  pretrained: {emb_name: user, embedding_snapshot_uri: old, by_position: true}
"""
_ABSENT = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"


@pytest.fixture
def torchless(tmp_path):
    """Runs `embsnap` in a process that finds no torch."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "torch.py").write_text(_ABSENT)
    (tmp_path / "config.yaml").write_text(_CONFIG)
    write_arrays(f"{tmp_path}/old", {"user": np.ones((4, 3), np.float32)})

    def run(*arguments):
        command = [sys.executable, "-m", "embsnap", *arguments]
        variables = {**os.environ, "PYTHONPATH": str(tmp_path / "path")}
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120)

    return run


def test_a_snapshot_is_written_and_read_without_torch(torchless):
    written = torchless("warmstart", "config.yaml", "--out", "warm", "--no-model", "--quiet")
    assert (written.returncode, written.stderr) == (0, "")
    shown = torchless("inspect", "warm", "--json")
    assert shown.returncode == 0
    assert [table["name"] for table in json.loads(shown.stdout)["tables"]] == ["user"]


def test_a_live_model_needs_torch_and_the_error_says_what_to_do(torchless, tmp_path):
    run = torchless("warmstart", "config.yaml", "--out", "warm", "--json")
    assert (run.returncode, run.stdout) == (2, "")
    error = json.loads(run.stderr)
    assert error["kind"] == "missing-package"
    assert "torch" in error["problem"]
    assert "--no-model" in error["hint"]
    assert not (tmp_path / "warm").exists()


def test_doctor_calls_it_a_bad_line(torchless):
    run = torchless("doctor")
    assert run.returncode == 1
    assert "No module named 'torch'" in run.stdout

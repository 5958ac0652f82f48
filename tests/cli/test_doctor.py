"""`embsnap doctor`."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
def test_this_environment_is_well(embsnap):
    run = embsnap("doctor")
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.stdout.endswith("all is well\n")
    assert "fbgemm build" in run.stdout


def test_a_build_that_crashes_is_a_bad_line_with_its_command(embsnap, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = embsnap("doctor", "--json")
    assert run.exit_code == 1
    document = json.loads(run.stdout)
    assert (document["schema"], document["version"], document["healthy"]) == ("embsnap.doctor", 1, False)
    (torch,) = (line for line in document["lines"] if line["subject"] == "torch")
    assert torch["health"] == "bad"
    assert "SIGSEGV" in torch["message"]
    assert torch["remedy"].startswith("pip install --force-reinstall")
    (torchrec,) = (line for line in document["lines"] if line["subject"] == "torchrec")
    assert torchrec["health"] == "note"


def test_the_bad_lines_are_counted_in_the_text(embsnap, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so is not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = embsnap("doctor")
    assert run.exit_code == 1
    assert "libtorch.so is not here" in run.stdout
    assert "  try: pip install --force-reinstall" in run.stdout
    assert run.stdout.endswith("1 line is bad\n")

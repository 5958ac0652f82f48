"""One index for many processes: after a fork, in spawned ones, in the workers of a DataLoader."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.ops.vocab_index import VocabIndex

SCRIPT = Path(__file__).with_name("index_in_processes.py")
SIZE = 20_000
_LIVE = all(importlib.util.find_spec(name) is not None for name in ("torch", "torchrec"))


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    ids = np.random.default_rng(0).permutation(2 * SIZE)[:SIZE]
    vocabulary = Vocabulary("memory://all", IdType.INT64, ids, np.arange(SIZE) + 10)
    return str(VocabIndex.build(vocabulary, oov=(0, 10)).save(str(tmp_path_factory.mktemp("index") / "all")).uri)


@pytest.mark.parametrize(
    "case",
    [
        "fork",
        "spawn",
        pytest.param("loader-fork", marks=pytest.mark.skipif(not _LIVE, reason="torchrec is not installed")),
        pytest.param("loader-spawn", marks=pytest.mark.skipif(not _LIVE, reason="torchrec is not installed")),
    ],
)
def test_they_all_say_the_same(case, uri):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), case, uri], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "same\n"

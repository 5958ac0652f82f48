"""Kernels where programs use them: on several threads at once, after a fork, in the workers of a DataLoader."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kernels_in_processes.py")
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


def _answers(case: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), case],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def answer() -> str:
    """What the kernels say in an ordinary process."""
    return _answers("fork")[0]


def test_after_a_fork(answer):
    assert _answers("fork") == [answer] * 2


def test_three_threads_may_meet_in_the_first_call(answer, tmp_path):
    """With an empty cache the three compile each kernel, with a full one they load it."""
    for _ in range(2):
        assert _answers("threads", NUMBA_CACHE_DIR=str(tmp_path)) == [answer] * 3
    assert any(tmp_path.rglob("*.nbi"))


@needs_torch
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_two_workers_of_a_data_loader(answer, context):
    assert _answers(f"loader-{context}") == [answer] * 5


def test_where_nothing_can_be_cached_kernels_still_work():
    """An installation that is read-only, for a user without a home: numba finds no place for its cache."""
    program = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from embsnap.kernels import rows\n"
        "import numpy as np\n"
        "assert rows.check_rows(np.array([0, 0]), 1).num_duplicates == 1\n"
        "assert rows._mark.stats.cache_path is None\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr

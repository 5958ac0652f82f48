"""A warm start that is stopped while it writes leaves nothing to see, and the next one succeeds."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary

NUM_ROWS, DIM = 400_000, 64


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 MB of rows, all of which move."""
    root = tmp_path_factory.mktemp("days")
    rows = np.arange(NUM_ROWS * DIM, dtype=np.float32).reshape(NUM_ROWS, DIM)
    write_arrays(f"{root}/old", {"user": rows})
    ids = np.random.default_rng(0).permutation(NUM_ROWS)
    write_vocabulary(make_vocabulary(list(range(NUM_ROWS))), f"{root}/old.parquet")
    write_vocabulary(make_vocabulary(ids.tolist()), f"{root}/new.parquet")
    (root / "config.yaml").write_text(
        f"""tables:
- name: user
  num_embeddings: {NUM_ROWS}
  embedding_dim: {DIM}
  vocab: {root}/new.parquet
  pretrained: {{emb_name: user, embedding_snapshot_uri: {root}/old, vocab: {root}/old.parquet}}
"""
    )
    np.save(root / "expected.npy", rows[ids])
    return root


@pytest.mark.parametrize(
    ("number", "exit_code", "flags"),
    [
        (signal.SIGINT, 130, ("--no-model",)),
        (signal.SIGTERM, 143, ("--no-model",)),
        (signal.SIGKILL, -signal.SIGKILL, ("--no-model",)),
        (signal.SIGTERM, 143, ("--mode", "evaluate")),
    ],
    ids=["SIGINT", "SIGTERM", "SIGKILL", "SIGTERM of a live model"],
)
def test_stopped_while_writing(days, tmp_path, number, exit_code, flags) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "embsnap", "warmstart", days / "config.yaml", "--out", out, *flags]
    # Small blocks make the writing last; it has begun once there is an unfinished object of some size.
    slow = subprocess.Popen([*command, "--memory-budget", "1MiB"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not _unfinished_pages(out) and slow.poll() is None:
        time.sleep(0.001)
    slow.send_signal(number)
    stdout, stderr = slow.communicate(timeout=60)
    assert (slow.returncode, stdout) == (exit_code, b""), stderr.decode()
    assert not (out / ".snapshot_metadata").exists()
    if number is not signal.SIGKILL:
        assert [path for path in out.rglob("*") if path.is_file()] == []
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert ("interrupted" in again.stdout or "left" in again.stdout) is (number is signal.SIGKILL)
    np.testing.assert_array_equal(read_array(str(out), "user"), np.load(days / "expected.npy"))


def _unfinished_pages(out: Path) -> int:
    try:
        return sum(path.stat().st_size for path in out.glob("embsnap/*/.embsnap-*.tmp")) // 4096
    except FileNotFoundError:
        return 0

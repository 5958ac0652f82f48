"""What each rank reads of a snapshot, and what becomes of all of them when one fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

pytest.importorskip("torchrec")
pytestmark = [pytest.mark.distributed, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "fill_watched.py"
ROWS, DIM = 40_001, 8
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, str, list[dict[str, Any]]]]:
    """Fills a model over two ranks: exit code, stderr, and what those ranks say that came to their end."""
    write_arrays(f"{tmp_path}/old", {"user": np.ones((ROWS, DIM), np.float32)}, {STATE: np.ones(ROWS, np.float32)})
    write_vocabulary(make_vocabulary(list(range(ROWS))), f"{tmp_path}/user.parquet")
    vocabulary = {"vocab": f"{tmp_path}/user.parquet"}
    pretrained = {"emb_name": "user", "embedding_snapshot_uri": f"{tmp_path}/old"} | vocabulary
    table = {"name": "user", "num_embeddings": ROWS, "embedding_dim": DIM, "pretrained": pretrained} | vocabulary
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"tables": [table]}))
    (tmp_path / "job.rows").write_text(str(ROWS))

    def start(what: str) -> tuple[int, str, list[dict[str, Any]]]:
        launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
        done = subprocess.run(
            [*launch, "--nproc-per-node", "2", str(SCRIPT), f"{tmp_path}/job.yaml", str(tmp_path), what],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            timeout=300,
        )
        files = sorted(tmp_path.glob("[01].json"))
        return done.returncode, done.stderr.decode(), [json.loads(file.read_text()) for file in files]

    return start


def test_each_rank_reads_its_own_rows(run) -> None:
    exit_code, errors, outcomes = run("count")
    assert exit_code == 0, errors[-3000:]
    for outcome in outcomes:
        own_bytes = outcome["num_rows"] * (DIM + 1) * 4
        assert own_bytes <= outcome["bytes_of_rows"] <= 1.05 * own_bytes
    assert [outcome["num_rows"] for outcome in outcomes] == [20_001, 20_000]


@pytest.mark.parametrize(
    ("what", "kind", "part"),
    [("config", "no-such-object", "job.yaml.missing"), ("read", "storage-failed", "rank 1: ")],
)
def test_what_fails_on_one_rank_ends_all_of_them(run, what: str, kind: str, part: str) -> None:
    exit_code, errors, outcomes = run(what)
    assert exit_code == 0, errors[-3000:]
    first, second = outcomes
    assert (first["kind"], second["kind"]) == (kind, kind)
    assert "rank 1: " in first["message"]
    assert "rank 1: " not in second["message"]
    assert first["message"].replace("rank 1: ", "") == second["message"]
    assert part in first["message"]
    assert second["untouched"]
    assert [outcome.get("refused") for outcome in outcomes] == [["half-filled"] * 2 if what == "read" else None] * 2
    assert first["untouched"] == (what == "config"), "what is found out in time touches nothing on any rank"


def test_arguments_that_fit_on_some_ranks_only_are_refused_on_all(run) -> None:
    exit_code, errors, outcomes = run("arguments")
    assert exit_code == 0, errors[-3000:]
    for outcome in outcomes:
        assert outcome["refused"] == ["bad-option"] * 6
        assert outcome["num_rows"], "the ranks fill a model together afterwards"


def test_a_rank_that_ends_is_noticed(run) -> None:
    exit_code, _, outcomes = run("exit")
    assert exit_code != 0
    for outcome in outcomes:  # unless the launcher ended the other rank first
        assert outcome["kind"] == "rank-lost"


def test_a_model_over_a_part_of_the_ranks_is_refused(run) -> None:
    _, errors, outcomes = run("part")
    assert [outcome["kind"] for outcome in outcomes] == ["bad-option"] * 2, errors[-3000:]

"""`torchrun -m embsnap warmstart` writes the snapshot that one process writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from embsnap.cli.main import main
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary

pytest.importorskip("torchrec")
pytestmark = [pytest.mark.distributed, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "warmstart_small_objects.py"
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
ROWS, DIM = 3000, 8


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    write_arrays(f"{tmp_path}/old", {"user": rows}, {STATE: np.arange(ROWS, dtype=np.float32)})
    write_vocabulary(make_vocabulary(list(range(ROWS))), f"{tmp_path}/old.parquet")
    order = np.random.default_rng(1).permutation(ROWS + 100)
    write_vocabulary(make_vocabulary(order.tolist()), f"{tmp_path}/new.parquet")
    pretrained = {"emb_name": "user", "embedding_snapshot_uri": f"{tmp_path}/old", "vocab": f"{tmp_path}/old.parquet"}
    table = {"name": "user", "num_embeddings": ROWS + 100, "embedding_dim": DIM, "vocab": f"{tmp_path}/new.parquet"}
    config = {"tables": [table | {"pretrained": pretrained}], "tables_to_log": ["user"]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "job.yaml"


def launch(num_ranks: int, *arguments: object, script: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, "--nproc-per-node", str(num_ranks), *script, "warmstart", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_several_ranks_write_one_snapshot(tmp_path, config, capfd) -> None:
    done = launch(2, config, "--out", f"{tmp_path}/together", "--json", script=(str(SCRIPT),))
    assert done.returncode == 0, done.stderr[-3000:]
    assert main(["warmstart", str(config), "--out", f"{tmp_path}/alone", "--no-model", "--json"]) == 0
    told, alone = json.loads(done.stdout), json.loads(capfd.readouterr().out)
    assert told["tables"][0].pop("mean_norm") == pytest.approx(alone["tables"][0].pop("mean_norm"))
    for result in (told, alone):
        result["tables"][0].pop("seconds")
        result["tables"][0].pop("num_unchecked_rows")
    assert (told["tables"], told["plan_digest"]) == (alone["tables"], alone["plan_digest"])
    for path in ("user", STATE):
        np.testing.assert_array_equal(read_array(f"{tmp_path}/together", path), read_array(f"{tmp_path}/alone", path))
    together = open_snapshot(f"{tmp_path}/together")
    assert len({piece.location for piece in together.table("user").weight.pieces}) > 4
    assert together.sidecar is not None
    assert together.findings == ()


def test_by_the_module(tmp_path, config) -> None:
    done = launch(2, config, "--out", f"{tmp_path}/out", script=("-m", "embsnap"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("pooled lookup") == 0
    assert done.stdout.count(f"wrote {tmp_path}/out") == 1
    assert main(["inspect", f"{tmp_path}/out"]) == 0


def test_a_taken_destination_ends_all_ranks(tmp_path, config) -> None:
    before = open_snapshot(f"{tmp_path}/old").metadata_sha256
    done = launch(2, config, "--out", f"{tmp_path}/old", script=("-m", "embsnap"))
    assert done.returncode != 0
    assert "exitcode  : 7" in done.stderr
    assert open_snapshot(f"{tmp_path}/old").metadata_sha256 == before

"""`torchrun -m embsnap warmstart` writes the snapshot that one process writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

import embsnap
from embsnap.cli.main import main
from embsnap.formats.torchsnapshot import layout
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
    table |= {"pretrained": pretrained, "optimizer": {"rowwise_adagrad": {"lr": 0.1}}}
    mean = {"name": "mean", "num_embeddings": 2000, "embedding_dim": 4, "pooling": "mean", "data_type": "fp16"}
    mean["optimizer"] = {"adam": {"lr": 0.1}}
    single = {"name": "single", "num_embeddings": 1, "embedding_dim": 4}
    config = {"tables": [table, mean, single], "tables_to_log": ["user", "single"]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "job.yaml"


@contextmanager
def small_objects() -> Iterator[None]:
    """As the ranks' script has them."""
    before = layout.PIECE_BYTES, layout.OBJECT_BYTES
    layout.PIECE_BYTES = layout.OBJECT_BYTES = 1 << 14
    try:
        yield
    finally:
        layout.PIECE_BYTES, layout.OBJECT_BYTES = before


def launch(num_ranks: int, *arguments: object, script: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, "--nproc-per-node", str(num_ranks), *script, "warmstart", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


def entries(uri: str) -> str:
    """The manifest without the locations."""
    manifest = open_snapshot(uri).manifest
    return re.sub(r"location='[^']*'", "", "\n".join(f"{path} {entry}" for path, entry in manifest.entries.items()))


@pytest.mark.parametrize("options", [(), ("--no-model",)], ids=["live", "no model"])
def test_several_ranks_write_one_snapshot(tmp_path, config, capfd, options) -> None:
    done = launch(2, config, *options, "--out", f"{tmp_path}/together", "--json", script=(str(SCRIPT),))
    assert done.returncode == 0, done.stderr[:3000]
    with small_objects():
        assert (
            main(["warmstart", str(config), "--out", f"{tmp_path}/alone", "--device", "cpu", *options, "--json"]) == 0
        )
    told, alone = json.loads(done.stdout), json.loads(capfd.readouterr().out)
    for result in (told, alone):
        for table in result["tables"]:
            table["mean_norm"] = table["mean_norm"] and pytest.approx(table["mean_norm"])
            table.pop("seconds")
            table.pop("num_unchecked_rows")
    assert (told["tables"], told["plan_digest"]) == (alone["tables"], alone["plan_digest"])
    assert (told["mode"], told["device"]) == (alone["mode"], alone["device"])
    assert entries(f"{tmp_path}/together") == entries(f"{tmp_path}/alone")
    for path in ("user", "mean", "single", STATE):
        np.testing.assert_array_equal(read_array(f"{tmp_path}/together", path), read_array(f"{tmp_path}/alone", path))
    together = open_snapshot(f"{tmp_path}/together")
    assert len({piece.location for piece in together.table("user").weight.pieces}) > 4
    assert together.sidecar is not None
    assert together.findings == ()
    looked_up = {} if options else {"user": 64, "mean": 64, "single": 64}
    assert {lookup["table"]: lookup["num_ids"] for lookup in told["lookups"]} == looked_up


def test_by_the_module(tmp_path, config) -> None:
    """Without a mean, the table of one row lies on one rank."""
    config.write_text(config.read_text().replace("pooling: mean", "pooling: sum"))
    done = launch(3, config, "--out", f"{tmp_path}/out", "--mode", "evaluate", script=("-m", "embsnap"))
    assert done.returncode == 0, done.stderr[:3000]
    assert done.stdout.count("pooled lookup") == 3
    assert done.stdout.count(f"wrote {tmp_path}/out by a live model (evaluate, cpu)") == 1
    assert main(["inspect", f"{tmp_path}/out"]) == 0


def test_a_taken_destination_ends_all_ranks(tmp_path, config) -> None:
    before = open_snapshot(f"{tmp_path}/old").metadata_sha256
    done = launch(2, config, "--out", f"{tmp_path}/old", script=("-m", "embsnap"))
    assert done.returncode != 0
    assert "exitcode  : 7" in done.stderr
    assert open_snapshot(f"{tmp_path}/old").metadata_sha256 == before


def test_damage_that_one_rank_meets_ends_all(tmp_path) -> None:
    """Rank 1 fills the rows at the end, which are not those that were written."""
    table = {"name": "user", "num_embeddings": 400_000, "embedding_dim": DIM}
    model = embsnap.LargeEmbeddings(embsnap.LargeEmbeddingsConfig.model_validate({"tables": [table]}))
    model.weight("user").data.fill_(1)
    embsnap.save(model, f"{tmp_path}/old")
    (damaged,) = (file for file in (tmp_path / "old").rglob("*") if file.is_file() and file.stat().st_size > 1_000_000)
    with damaged.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(bytes(4))
    pretrained = {"emb_name": "user", "embedding_snapshot_uri": f"{tmp_path}/old", "by_position": True}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"tables": [table | {"pretrained": pretrained}]}))
    done = launch(2, tmp_path / "job.yaml", "--out", f"{tmp_path}/out", script=("-m", "embsnap"))
    assert done.returncode != 0
    assert "embsnap: rank 1: " in done.stderr  # as rank 0 says it
    assert done.stderr.count("are not those that were written") == 2
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]

"""Snapshots that mean harm, before every command that reads one: pickles that would run, names that lead outside."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.corruptors import edit_metadata
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.vocabularies import make_vocabulary

WEIGHT = "model/ebc.embedding_bags.user.weight"
OUTSIDE = "../../../outside"
UP = "%2F".join([*[".."] * 3, "outside"])
"""The key `../../../outside`, as a segment of a path."""
PLAN = "steps:\n- cast: {tables: user, to: fp16}\n"

COMMANDS = {
    "inspect": ["inspect", "{root}"],
    "verify": ["verify", "{root}"],
    "stats": ["stats", "{root}"],
    "diff": ["diff", "{root}", "{root}"],
    "lookup": ["lookup", "{root}", "--table", "user", "--row", "1"],
    "copy": ["copy", "{root}", "{out}/copy"],
    "migrate": ["migrate", "{plan}", "{root}", "--out", "{out}/migrated"],
    "export": ["export", "{root}", "--by-position", "--out", "{out}/exported"],
    "write checksums": ["verify", "{root}", "--write-checksums"],
}


def run(embsnap, command, root, tmp_path):
    """Run a command all of whose files belong under `tmp_path/a/b/c`, three levels below what must not change."""
    out, plan = tmp_path / "a" / "b" / "c", tmp_path / "plan.yaml"
    out.mkdir(parents=True)
    plan.write_text(PLAN)
    done = embsnap(*[word.format(root=root, out=out, plan=plan) for word in COMMANDS[command]])
    assert done.exit_code in (0, 1, 4), done.stderr


@pytest.fixture
def pickled(tmp_path):
    """A table, and pickles as everything that can be one; each would leave a file behind if it was opened."""
    builder = SnapshotBuilder(batched=False)
    builder.tensor(WEIGHT, np.ones((3, 2), np.float32))
    evil = f"cos\nsystem\n(S'touch {tmp_path / 'canary'}'\ntR.".encode()
    for path in ("optimizer/object", "model/tensor", "model/chunk", "model/shard"):
        builder.opaque(path, evil)
    tensor = {"type": "Tensor", "serializer": "torch_save", "dtype": "torch.float32", "shape": [3, 2]}
    tensor |= {"replicated": False, "byte_range": None}
    piece = {"offsets": [0, 0], "sizes": [3, 2], "tensor": {**tensor, "location": "0/model/chunk"}}
    chunked = {"type": "ChunkedTensor", "dtype": "torch.float32", "shape": [3, 2], "replicated": False}
    builder.entry("0/model/tensor", {**tensor, "location": "0/model/tensor"})
    builder.entry("0/model/chunk", {**chunked, "chunks": [piece]})
    shard = {**piece, "tensor": {**tensor, "location": "0/model/shard"}}
    builder.entry("0/model/ebc.embedding_bags.evil.weight", {"type": "ShardedTensor", "shards": [shard]})
    return builder.write(tmp_path / "snapshot")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_pickle_is_opened(embsnap, pickled, tmp_path, command) -> None:
    run(embsnap, command, pickled, tmp_path)
    assert not (tmp_path / "canary").exists()


@pytest.fixture
def leading_outside(tmp_path):
    """Keys, table names and nested containers of `..`, and one object that names a file outside."""
    (tmp_path / "outside").write_bytes(np.ones((3, 2), np.float32).tobytes())
    builder = SnapshotBuilder(batched=False)
    for name in ("user", UP, ".."):
        builder.tensor(f"model/ebc.embedding_bags.{name}.weight", np.ones((3, 2), np.float32))
    builder.value("../../../outside", 3)
    root = builder.write(tmp_path / "snapshot")
    named = {"type": "Tensor", "location": OUTSIDE, "serializer": "buffer_protocol", "dtype": "torch.float32"}
    entry = {**named, "shape": [3, 2], "replicated": False, "byte_range": None}
    edit_metadata(root, lambda fields: fields["manifest"].update({"0/model/outside": entry}))
    return root


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_written_outside(embsnap, leading_outside, tmp_path, command) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    run(embsnap, command, leading_outside, tmp_path)
    inside = (tmp_path / "a" / "b" / "c", leading_outside / ".embsnap")
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before - {tmp_path / "plan.yaml"}
    assert [path for path in new if not any(path.is_relative_to(each) for each in inside)] == []
    assert (tmp_path / "outside").stat().st_size == 24


def test_a_warm_start_opens_no_pickle(embsnap, pickled, tmp_path) -> None:
    write_vocabulary(make_vocabulary([7, 8, 9]), str(tmp_path / "v.parquet"))
    (tmp_path / "config.yaml").write_text(
        f"tables:\n- {{name: user, num_embeddings: 3, embedding_dim: 2, vocab: {tmp_path}/v.parquet,\n"
        f"   pretrained: {{emb_name: user, embedding_snapshot_uri: {pickled}, vocab: {tmp_path}/v.parquet}}}}\n"
    )
    done = embsnap("warmstart", tmp_path / "config.yaml", "--out", tmp_path / "new", "--no-model")
    assert done.exit_code == 0, done.stderr
    assert not (tmp_path / "canary").exists()

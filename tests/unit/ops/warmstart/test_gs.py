"""The main job with everything in a bucket: snapshot, vocabularies and output."""

from __future__ import annotations

import re

import numpy as np
import pytest

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.errors import ErrorKind, StorageError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.inspect import inspect
from embsnap.ops.warmstart.plan import plan_warmstart, write_warmstart
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import read_array
from embsnap.testing.vocabularies import make_vocabulary

KEY = "ebc.embedding_bags.user.weight"
STATE = f"optimizer/state/fused_opt.{KEY}/user.momentum1"
ROWS, DIM = 4000, 32


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)


@pytest.fixture
def bucket(gcs_proxy, tmp_path, rows):
    """A snapshot of four ranks and both days' vocabularies, behind a proxy that keeps a log."""
    builder = SnapshotBuilder(world_size=4)
    builder.sharded(f"model/{KEY}", rows, row_shards(rows.shape, 4))
    builder.sharded(STATE, rows[:, 0].copy(), row_shards((ROWS,), 4))
    builder.write(tmp_path / "old")
    gcs_proxy.upload(tmp_path / "old", "old")
    write_vocabulary(make_vocabulary(list(range(ROWS))), gcs_proxy.uri("old.parquet"))
    return gcs_proxy


def parse(bucket, ids) -> LargeEmbeddingsConfig:
    write_vocabulary(make_vocabulary(ids), bucket.uri("new.parquet"))
    old = {"embedding_snapshot_uri": bucket.uri("old"), "vocab": bucket.uri("old.parquet"), "emb_name": "user"}
    fields = {"num_embeddings": len(ids), "embedding_dim": DIM, "vocab": bucket.uri("new.parquet"), "name": "user"}
    return LargeEmbeddingsConfig.model_validate({"tables": [fields | {"pretrained": old}]})


def data_bytes(log) -> int:
    """Bytes of the objects that hold rows, as ranges asked for them."""
    asked = [re.fullmatch(r"bytes=(\d+)-(\d+)", request.range) for request in log if is_data(request)]
    return sum(int(match[2]) + 1 - int(match[1]) for match in asked if match)


def is_data(request) -> bool:
    return bool(request.range) and ("sharded" in request.path or "batched" in request.path)


def test_rows_follow_their_entities_within_a_bucket(bucket, rows):
    order = np.random.default_rng(1).permutation(ROWS)
    plan = plan_warmstart(parse(bucket, order.tolist()))
    before = len(bucket.log)
    write_warmstart(plan, bucket.uri("new"))
    num_bytes = rows.nbytes + ROWS * 4
    assert num_bytes <= data_bytes(bucket.log[before:]) <= 1.01 * num_bytes
    new = open_snapshot(bucket.uri("new"))
    np.testing.assert_array_equal(read_array(new, "user"), rows[order])
    np.testing.assert_array_equal(read_array(new, STATE), rows[order, 0])
    assert new.sidecar is not None


def test_a_hundred_rows(bucket, rows):
    picked = np.random.default_rng(1).choice(ROWS, 100, replace=False)
    plan = plan_warmstart(parse(bucket, picked.tolist()))
    before = len(bucket.log)
    write_warmstart(plan, bucket.uri("new"))
    assert data_bytes(bucket.log[before:]) < 2 * 100 * (DIM * 4 + 4)
    np.testing.assert_array_equal(read_array(bucket.uri("new"), "user"), rows[picked])


def test_inspecting_takes_two_requests(bucket):
    write_warmstart(plan_warmstart(parse(bucket, list(range(50)))), bucket.uri("new"))
    before = len(bucket.log)
    inspect(bucket.uri("new"))
    assert [request.method for request in bucket.log[before:]] == ["GET", "GET"]


def test_an_object_that_is_replaced_under_the_reader(bucket, rows):
    """Its metadata stays the same, so that only the object's own generation tells."""
    plan = plan_warmstart(parse(bucket, list(range(ROWS))))
    old = plan.tables[0].old
    assert old is not None
    old.weight.read(0, 10, np.empty((10, DIM), np.float32))
    names = [name for name in bucket.names("old/") if "batched" in name or "sharded" in name]
    for name in names:
        bucket.put(name, bucket.get(name))
    with pytest.raises(StorageError) as raised:
        write_warmstart(plan, bucket.uri("new"))
    assert raised.value.kind is ErrorKind.OBJECT_REPLACED
    assert bucket.names("new/") == []

"""The readers of untrusted files, each with sound input to start from."""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from embsnap.config.load import parse_large_embeddings
from embsnap.formats.checksums import sums_of
from embsnap.formats.sidecar import Lineage, Parent, Sidecar, TableVocabulary, parse_sidecar
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.ops.inspect import inspect
from embsnap.ops.migrate.documents import read_plan
from embsnap.ops.migrate.plan import MigrationOptions
from embsnap.ops.verify.verify import VerifyOptions, verify
from embsnap.storage.memory import MemoryStore
from embsnap.testing.fuzzing import Target
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.vocabularies import parquet_bytes

__all__ = ["fuzz_targets"]

_CONFIG = """\
model:
  embeddings:
    tables:
    - name: user
      num_embeddings: 1_000
      embedding_dim: 16
      data_type: bf16
      vocab: /data/today/user
      vocab_columns: {id: user_id, row: slot, count: seen}
      pretrained: {emb_name: user, embedding_snapshot_uri: /runs/42@latest, vocab: $DATA/user, cast: true}
      initializer: {donor: {id: 17}, seed: 7, max_norm: 1.0}
      reserved: {rows: 1:3, policy: zeros}
      optimizer: {rowwise_adagrad: {lr: 0.1}}
    - name: post
      num_embeddings: 500
      embedding_dim: 16
      initializer: {truncated_normal: {}}
      optimizer: {adagrad: {lr: 1e-1, eps: 1e-8}}
    tables_to_log: [user]
"""
_PLAN = """\
steps:
- rename: {tables: {user: member}}
- resize: {table: member, rows: 12, initializer: {truncated_normal: {}}}
- cast: {tables: member, to: fp16, max_error: 1.0}
- dim: {table: post, to: 6, by: pad, initializer: zeros}
- normalize: {tables: [post], max_norm: 1.0}
- repair: {tables: post, initializer: zeros}
- copy: {table: post, to: story}
- drop: {tables: post}
"""


def fuzz_targets() -> tuple[Target, ...]:
    """Metadata as JSON and as YAML (inspected and verified), sidecars, configurations, plans, vocabularies."""
    return (
        Target("metadata", [_metadata().encode()], _verify_metadata),
        Target("metadata as YAML", [yaml.safe_dump(json.loads(_metadata())).encode()], _verify_metadata),
        Target("sidecar", [_sidecar()], parse_sidecar),
        Target("configuration", [_CONFIG.encode(), json.dumps(yaml.safe_load(_CONFIG)).encode()], _read_config),
        Target("migration plan", [_PLAN.encode(), json.dumps(yaml.safe_load(_PLAN)).encode()], _plan_migration),
        Target("vocabulary", _vocabularies(), _vocabulary_reader()),
    )


def _builder() -> SnapshotBuilder:
    builder = SnapshotBuilder(world_size=2)
    table = np.arange(40, dtype=np.float32).reshape(10, 4)
    builder.sharded("model/ebc.embedding_bags.user.weight", table, row_shards(table.shape, 2))
    state = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
    builder.sharded(state, table[:, 0].copy(), row_shards((10,), 2))
    builder.chunked("model/ebc.embedding_bags.post.weight", table, num_rows=4, replicated=True)
    builder.tensor("model/dense.bias", np.ones(3, np.float16))
    builder.opaque("optimizer/betas", b"pickle")
    values: dict[str, int | str | bool | bytes | float] = {
        "step": 3,
        "name": "x",
        "rate": 0.1,
        "on": True,
        "salt": b"\0",
    }
    for name, value in values.items():
        builder.value(f"extra_state/{name}", value)
    return builder


def _metadata() -> str:
    return json.dumps(_builder().metadata())


def _verify_metadata(data: bytes) -> None:
    """Everything that looks at metadata, over objects that are there."""
    with tempfile.TemporaryDirectory() as directory:
        root = _builder().write(Path(directory))
        (root / METADATA_LOCATION).write_bytes(data)
        inspect(str(root))
        verify(str(root), VerifyOptions(threads=1))


def _sidecar() -> bytes:
    return Sidecar(
        metadata_sha256=hashlib.sha256(b"").hexdigest(),
        tool="embsnap",
        created="2024-01-01T00:00:00+00:00",
        objects={"embsnap/0123456789ab-0/00000": sums_of(bytes(1000), 300)},
        tables={"user": TableVocabulary("/v/user", "v1:int64:10:ab")},
        lineage=Lineage((Parent("/old", "0" * 64),), "warmstart", "ab", {"user": {"carried": 3}}),
        extra={"future": [1, {"x": None}]},
    ).to_bytes()


def _read_config(data: bytes) -> None:
    parse_large_embeddings(data.decode("utf-8", "replace"), where="config.yaml", environ={"DATA": "/data"})


def _plan_migration(data: bytes) -> None:
    """Check a plan and plan it, over a snapshot that is there; nothing is written."""
    with tempfile.TemporaryDirectory() as directory:
        root = _builder().write(Path(directory) / "snapshot")
        plan = Path(directory) / "plan.yaml"
        plan.write_bytes(data)
        options = MigrationOptions(threads=1, memory_budget=16 << 20)
        read_plan(str(plan), str(root), options, environ={"DATA": "/data"}).plan()


def _vocabularies() -> list[bytes]:
    rows = np.arange(300)
    return [
        parquet_bytes({"id": rows * 7, "row": rows, "count": rows}, row_group_size=100),
        parquet_bytes({"id": [f"id{row}" for row in rows], "row": rows.astype(np.int32)}, compression="zstd"),
        parquet_bytes({"id": pa.array([b"ab", b"cd"] * 150), "row": rows}, use_dictionary=True),
        parquet_bytes({"id": rows.astype(np.uint64), "row": rows}, compression="none", use_dictionary=False),
    ]


def _vocabulary_reader() -> Callable[[bytes], object]:
    numbers = itertools.count()

    def read(data: bytes) -> object:
        store = MemoryStore(f"memory://embsnap-fuzz-{next(numbers)}")
        store.create("a.parquet", data)
        try:
            return read_vocabulary(f"{store.uri}/a.parquet", memory_limit=1 << 30)
        finally:
            store.delete("a.parquet")

    return read

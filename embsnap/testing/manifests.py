"""Metadata of snapshots with very many entries, without any object: for what reads metadata alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["write_wide_metadata"]

_DIM = 8


def write_wide_metadata(root: Path, *, num_tables: int, num_ranks: int, indent: int | None = 2) -> int:
    """Row-wise tables with one row on every rank, as torchsnapshot would list them; returns the bytes of metadata."""
    root.mkdir(parents=True, exist_ok=True)
    keys = [f"ebc.embedding_bags.table_{number:05}.weight" for number in range(num_tables)]
    fields = {"version": "0.1.0", "world_size": num_ranks, "manifest": dict(_entries(keys, num_ranks))}
    text = json.dumps(fields, indent=indent)
    (root / ".snapshot_metadata").write_text(text)
    return len(text)


def _entries(keys: list[str], num_ranks: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for rank in range(num_ranks):
        yield f"{rank}/model", {"type": "OrderedDict", "keys": keys}
        for number, key in enumerate(keys):
            yield f"{rank}/model/{key}", {"type": "ShardedTensor", "shards": [_shard(rank, number)]}


def _shard(rank: int, number: int) -> dict[str, Any]:
    start = number * _DIM * 4
    tensor = {
        "type": "Tensor",
        "location": f"batched/{rank:08}-0000-4000-8000-000000000000",
        "serializer": "buffer_protocol",
        "dtype": "torch.float32",
        "shape": [1, _DIM],
        "replicated": False,
        "byte_range": [start, start + _DIM * 4],
    }
    return {"offsets": [rank, 0], "sizes": [1, _DIM], "tensor": tensor}

"""Snapshots in forms whose writers cannot be installed beside today's torch, built field by field.

Each function writes a snapshot below `root` and returns its arrays by logical path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.testing.snapshots import SnapshotBuilder, row_shards

__all__ = [
    "constructed_dtensor_grid",
    "constructed_replicated",
    "constructed_torchrec_0_4",
    "constructed_yaml",
]

_Arrays = dict[str, NDArray[Any]]
_ROWS, _DIM = 9, 4


def constructed_torchrec_0_4(root: Path) -> _Arrays:
    """torchrec 0.4 and earlier: fused Adam keeps `momentum1` and `momentum2`; no combined optimizer's prefix."""
    key = "sparse.ebc.embedding_bags.user.weight"
    paths = [f"model/{key}", f"optim/state/{key}/user.momentum1", f"optim/state/{key}/user.momentum2"]
    arrays = {path: _matrix(seed) for seed, path in enumerate(paths)}
    builder = SnapshotBuilder(world_size=2)
    for path, array in arrays.items():
        builder.sharded(path, array, row_shards(array.shape, 2))
    builder.write(root)
    return arrays


def constructed_dtensor_grid(root: Path) -> _Arrays:
    """torchsnapshot's main branch: a DTensor cut by rows and by columns over a 2 x 2 mesh."""
    path, array = "model/ebc.embedding_bags.user.weight", _matrix(0)
    boxes = [((row, column), (num_rows, 2)) for row, num_rows in ((0, 5), (5, 4)) for column in (0, 2)]
    builder = SnapshotBuilder(world_size=4)
    fields = {"mesh": [[0, 1], [2, 3]], "dim_map": [[0], [1]]}
    builder.sharded(path, array, {rank: [box] for rank, box in enumerate(boxes)}, dtensor=fields)
    builder.write(root)
    return {path: array}


def constructed_replicated(root: Path) -> _Arrays:
    """Entries that stand under rank 0 for all ranks: a tensor in a slab, and a chunked one."""
    arrays = {f"model/ebc.embedding_bags.{name}.weight": _matrix(seed) for seed, name in enumerate(("user", "post"))}
    builder = SnapshotBuilder(world_size=2)
    (whole, chunked) = arrays
    builder.tensor(whole, arrays[whole], replicated=True)
    builder.chunked(chunked, arrays[chunked], num_rows=4, replicated=True)
    keys = [path.partition("/")[2] for path in arrays]
    builder.entry("1/model", {"type": "OrderedDict", "keys": keys})
    builder.write(root)
    return arrays


def constructed_yaml(root: Path) -> _Arrays:
    """YAML metadata with the keys and strings that YAML finds hardest: `~`, `yes`, `1`, colons, emoji, line breaks."""
    path, array = "model/ebc.embedding_bags.user.weight", _matrix(0)
    builder = SnapshotBuilder(world_size=2, version="0.0.3")
    builder.sharded(path, array, row_shards(array.shape, 2))
    for name in ("~", "yes", "1", "a: b", "# c", "😀", "long " * 40):
        builder.value(f"extra_state/{name}", f"{name}\n{name}")
    builder.write(root, as_yaml=True)
    return {path: array}


def _matrix(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((_ROWS, _DIM), np.float32)

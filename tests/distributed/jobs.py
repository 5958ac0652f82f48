"""Jobs of `fill_sharded.py` under torchrun, and what its ranks hold afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCRIPT = Path(__file__).parent / "fill_sharded.py"

Arrays = dict[str, NDArray[Any]]


def run_job(root: Path, world_size: int, cases: list[dict[str, Any]]) -> None:
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launch, "--nproc-per-node", str(world_size), str(SCRIPT), str(root), json.dumps(cases)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr.decode()[-6000:]


def load(directory: Path, stem: str) -> list[Arrays]:
    files = sorted(directory.glob(f"{stem}.*.npz"))
    return [dict(np.load(file)) for file in files]


def whole(ranks: list[Arrays], name: str) -> NDArray[Any]:
    """The array that the shards of all ranks make up; a copy on a later rank is the same as the first."""
    shards = [
        (key.partition("|")[2], array) for rank in ranks for key, array in rank.items() if key.split("|")[0] == name
    ]
    places = [tuple(int(part) for part in offsets.split(",") if part) for offsets, _ in shards]
    shape = np.max([np.add(place, array.shape) for place, (_, array) in zip(places, shards, strict=True)], axis=0)
    filled = np.full(shape, np.nan, np.float32)
    for place, (_, array) in zip(places, shards, strict=True):
        box = tuple(slice(at, at + size) for at, size in zip(place, array.shape, strict=True))
        assert np.isnan(filled[box]).all() or np.array_equal(filled[box], array), name
        filled[box] = array
    assert not np.isnan(filled).any(), name
    return filled

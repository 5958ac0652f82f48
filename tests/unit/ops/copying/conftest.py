"""Snapshots to copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from embsnap.ops.copy import plan_copy, write_copy
from embsnap.storage.memory import MemoryStore
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import write_arrays
from tests.unit.ops.copying.snapshots import ROWS, StopAfter


@pytest.fixture
def torch_made(tmp_path: Path) -> Path:
    """As torchsnapshot writes it: two ranks, objects of their own, a pickle, a value, no sidecar."""
    builder = SnapshotBuilder(world_size=2, batched=False)
    builder.sharded("model/ebc.embedding_bags.user.weight", ROWS, row_shards(ROWS.shape, 2))
    builder.tensor("model/over.bias", ROWS[0])
    builder.tensor("model/over.empty", ROWS[:0])
    builder.opaque("extra/scheduler", b"a pickle")
    builder.value("extra_state/step", 7)
    return builder.write(tmp_path / "run" / "7")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """As embsnap writes it, with a sidecar."""
    write_arrays(str(tmp_path / "own"), {"user": ROWS, "post": ROWS[::2]})
    return tmp_path / "own"


@pytest.fixture
def memory():
    store = MemoryStore("memory://copies/to")
    yield store
    store.clear()


@pytest.fixture
def half(torch_made, tmp_path) -> Path:
    """A copy of `torch_made` that was stopped; its pickle is there, whatever else has come so far."""
    with pytest.raises(KeyboardInterrupt):
        write_copy(plan_copy(str(torch_made), str(tmp_path / "half")), progress=StopAfter(1))
    target = tmp_path / "half" / "0" / "extra" / "scheduler"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"a pickle")
    return tmp_path / "half"

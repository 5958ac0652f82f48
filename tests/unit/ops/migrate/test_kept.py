"""What a migration does not change is copied byte for byte, whoever wrote it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import embsnap
from embsnap.errors import IncompatibleError
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.model.findings import Severity
from embsnap.model.manifest import ObjectEntry
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import read_array

KEY = "ebc.embedding_bags.{}.weight"
STATE = "optimizer/state/fused_opt." + KEY + "/{}.momentum1"
RNG = np.random.default_rng(0)
USER, ITEM = (RNG.normal(size=(rows, 4)).astype(np.float32) for rows in (10, 7))
MOMENTUM = RNG.random(10).astype(np.float32)
DENSE = RNG.normal(size=(2, 3)).astype(np.float32)
PICKLE = pickle.dumps({"never": "opened"})


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Two ranks: a row-wise table with state, a table-wise one, dense layers, values, pickles, an empty dict."""
    builder = SnapshotBuilder(world_size=2)
    builder.sharded(f"model/{KEY.format('user')}", USER, row_shards(USER.shape, 2))
    builder.sharded(f"model/{KEY.format('item')}", ITEM, {0: [], 1: [((0, 0), ITEM.shape)]})
    builder.sharded(STATE.format("user", "user"), MOMENTUM, row_shards(MOMENTUM.shape, 2))
    for rank in range(2):
        builder.tensor("model/ebc.dense.weight", DENSE + rank, rank=rank)
        builder.tensor("optimizer/state/dense_opt.ebc.dense.weight/sum", DENSE * 2, rank=rank)
        builder.value("extra_state/step", 7, rank=rank)
        builder.value("extra_state/lr", 0.5, rank=rank)
        builder.opaque("extra_state/rng", PICKLE + bytes([rank]), rank=rank)
        builder.entry(f"{rank}/extra_state/nothing", {"type": "dict", "keys": []})
    builder.value("optimizer/param_groups/0/params/0", KEY.format("user"))
    return str(builder.write(tmp_path / "source"))


def problems(snapshot: Snapshot) -> list[str]:
    """What is wrong with it; pickles are none."""
    return [finding.kind for finding in snapshot.findings if finding.severity is not Severity.NOTE]


def object_bytes(uri: str, path: str) -> bytes:
    snapshot = open_snapshot(uri)
    entry = snapshot.manifest.entries[path]
    assert isinstance(entry, ObjectEntry)
    return snapshot.store.read(entry.location, limit=1 << 20)


def test_everything_else_is_there_byte_for_byte(source: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = embsnap.migration(source).rename({"user": "member"}).write(out)
    before, after = open_snapshot(source), open_snapshot(out)
    assert problems(after) == problems(before) == []
    assert after.manifest.world_size == 2
    assert read_array(out, "member").tobytes() == USER.tobytes()
    assert read_array(out, STATE.format("member", "member")).tobytes() == MOMENTUM.tobytes()
    assert read_array(out, "item").tobytes() == ITEM.tobytes()
    for rank in range(2):
        assert object_bytes(out, f"{rank}/extra_state/rng") == PICKLE + bytes([rank])
        assert after.value(f"{rank}/extra_state/step") == 7
        assert read_array(out, f"{rank}/model/ebc.dense.weight").tobytes() == (DENSE + rank).tobytes()
        assert f"{rank}/extra_state/nothing" in after.manifest.entries
    assert after.value("optimizer/param_groups/0/params/0") == KEY.format("member")
    assert {table.name: table.copied for table in result.tables} == {"member": False, "item": True}
    assert [piece.rank for piece in after.table("member").weight.pieces] == [0, 1]
    assert after.table("item").ranks == (1,)
    untouched = {path for path in before.manifest.entries if "user" not in path} - {"0/model", "1/model"}
    assert untouched <= set(after.manifest.entries)


def test_a_prefix_takes_along_what_lies_below_it(source: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    embsnap.migration(source).rename(prefix={"model/ebc": "net/large.ebc"}).write(out)
    found = open_snapshot(out)
    assert problems(found) == []
    assert read_array(out, "net/large.ebc.embedding_bags.user.weight").tobytes() == USER.tobytes()
    assert read_array(out, "1/net/large.ebc.dense.weight").tobytes() == (DENSE + 1).tobytes()
    assert read_array(out, "optimizer/state/dense_opt.large.ebc.dense.weight/sum").tobytes() == (DENSE * 2).tobytes()
    assert [state.name for state in found.table("user").state] == ["momentum1"]
    assert not [path for path in found.manifest.entries if "/ebc." in path]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_another_world_size(source: str, tmp_path: Path, world_size: int) -> None:
    out = str(tmp_path / "out")
    result = embsnap.migration(source).shard(world_size=world_size).write(out)
    found = open_snapshot(out)
    assert problems(found) == []
    assert found.manifest.world_size == world_size
    assert read_array(out, "user").tobytes() == USER.tobytes()
    assert found.table("user").ranks == tuple(range(min(world_size, 10)))
    for rank in range(world_size):
        expected = DENSE + rank if rank < 2 else DENSE
        assert read_array(out, f"{rank}/model/ebc.dense.weight").tobytes() == expected.tobytes()
    kinds = {finding.kind for finding in result.findings}
    assert kinds == ({"ranks-left-out"} if world_size < 2 else {"ranks-added"} if world_size > 2 else set())


def test_what_only_a_lost_rank_has_is_not_lost(source: str, tmp_path: Path) -> None:
    builder = SnapshotBuilder(world_size=2)
    builder.sharded(f"model/{KEY.format('user')}", USER, row_shards(USER.shape, 2))
    builder.value("extra_state/only", 1, rank=1)
    uri = str(builder.write(tmp_path / "lopsided"))
    with pytest.raises(IncompatibleError, match="extra_state/only: only a rank"):
        embsnap.migration(uri).shard(world_size=1).write(str(tmp_path / "out"))


def test_dropping_a_table_leaves_no_trace_of_it(source: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = embsnap.migration(source).drop("user").write(out)
    assert result.dropped == ("user",)
    found = open_snapshot(out)
    assert problems(found) == []
    assert [path for path in found.manifest.entries if "user" in path] == []
    keys = {key for path in ("0/model", "1/model") for key in found.manifest.entries[path].keys}
    assert KEY.format("user") not in keys


def test_a_copied_table_keeps_its_own_state(source: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    embsnap.migration(source).copy("user", "twin").write(out)
    found = open_snapshot(out)
    assert problems(found) == []
    for name in ("user", "twin"):
        assert read_array(out, STATE.format(name, name)).tobytes() == MOMENTUM.tobytes()
    assert found.value("optimizer/param_groups/0/params/0") == KEY.format("user")

"""Where a collection stops, or does nothing."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError, StorageError, UsageError
from embsnap.ops.gc import GcOptions, apply_gc, plan_gc
from embsnap.storage import memory
from embsnap.storage.memory import MemoryStore
from embsnap.storage.uri import open_store
from embsnap.testing.tables import read_array, write_arrays
from tests.unit.ops.collecting.leftovers import DAY_S, DEAD, ROWS, Stop, age, collect, dead_run, names


def test_metadata_that_nobody_can_read_protect_everything(committed) -> None:
    dead_run(committed)
    before = names(committed)
    (committed / ".snapshot_metadata").write_text("{")
    with pytest.raises(SnapshotError) as caught:
        collect(committed)
    assert caught.value.kind == ErrorKind.BAD_METADATA
    assert names(committed) == before


def test_an_unreadable_step_is_left_alone_and_told_of(tmp_path) -> None:
    for step in (1, 2):
        write_arrays(str(tmp_path / str(step)), {"user": ROWS})
        dead_run(tmp_path / str(step))
    (tmp_path / "1" / ".snapshot_metadata").write_text("{")
    result = collect(tmp_path)
    assert [(each.kind, str(tmp_path / "1") in each.place) for each in result.findings] == [("bad-metadata", True)]
    assert (tmp_path / "1" / DEAD).exists()
    assert not (tmp_path / "2" / DEAD).exists()


def test_a_commit_between_plan_and_collection_stops_it(tmp_path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write_arrays(str(source), {"user": ROWS})
    for path in (path for path in source.rglob("*") if path.is_file() and path.name != ".snapshot_metadata"):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    age(target, 2 * DAY_S)
    plan = plan_gc(str(target))
    assert plan.result().num_objects == 3
    (target / ".snapshot_metadata").write_bytes((source / ".snapshot_metadata").read_bytes())
    with pytest.raises(StorageError, match="committed or removed") as caught:
        apply_gc(plan)
    assert caught.value.kind == ErrorKind.OBJECT_REPLACED
    np.testing.assert_array_equal(read_array(str(target), "user"), ROWS)


def test_an_interrupted_collection_goes_on(tmp_path) -> None:
    dead_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        apply_gc(plan_gc(str(tmp_path)), progress=Stop())
    assert f"{DEAD}/run.json" in names(tmp_path)
    collect(tmp_path)
    assert names(tmp_path) == set()


def test_in_memory() -> None:
    store = MemoryStore("memory://collected/x")
    store.create(f"{DEAD}/run.json", b"{}")
    assert [each.collected for each in collect(store.uri).leftovers] == [False]
    assert collect(store.uri, older_than_s=0).num_objects == 1
    assert list(store.list()) == []


def test_nothing_to_collect(committed) -> None:
    result = collect(committed)
    assert (result.leftovers, result.num_objects, result.applied) == ((), 0, True)


def test_nothing_there(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for uri in (f"{tmp_path}/missing", f"{tmp_path}/file", "memory://collected/nothing"):
        with pytest.raises(NotFoundError, match="there is nothing"):
            collect(uri)


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_an_age_that_is_none(committed, seconds) -> None:
    with pytest.raises(UsageError) as caught:
        plan_gc(str(committed), GcOptions(seconds))
    assert caught.value.kind == ErrorKind.BAD_OPTION


def test_a_store_that_does_not_tell_when(monkeypatch) -> None:
    store = MemoryStore("memory://timeless/x")
    store.create(f"{DEAD}/run.json", b"{}")
    monkeypatch.setattr(memory, "_info", lambda location, found: memory.ObjectInfo(location, len(found[0]), found[1]))
    (leftover,) = collect(store.uri, older_than_s=1e-9).leftovers
    assert (leftover.age_s, leftover.collected) == (None, False)
    assert collect(store.uri, older_than_s=0).num_objects == 1
    assert open_store(store.uri).children() == ()

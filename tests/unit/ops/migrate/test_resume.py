"""A migration that was stopped goes on where it was, and two of them never make one broken snapshot."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import embsnap
from embsnap.errors import RefusedError, StorageError
from embsnap.formats.torchsnapshot import layout
from embsnap.formats.torchsnapshot.attempts import claim_attempt, take_over
from embsnap.formats.torchsnapshot.rewriter import rewrite_snapshot
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.ops.migrate import plan as plans
from embsnap.storage.uri import open_store
from embsnap.testing.tables import read_array, write_arrays

ROWS = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of 4 KiB, so that there are several."""
    monkeypatch.setattr(layout, "PIECE_BYTES", 4096)
    monkeypatch.setattr(layout, "OBJECT_BYTES", 4096)


@pytest.fixture
def migration(tmp_path: Path):
    write_arrays(str(tmp_path / "source"), {"user": ROWS})
    return embsnap.migration(str(tmp_path / "source")).cast("user", "fp16")


def stop_after(monkeypatch: pytest.MonkeyPatch, num_objects: int) -> None:
    """The process ends, as by a kill: nothing is cleaned up."""
    done = threading.Semaphore(num_objects)

    def record_then_die(store, location, sums):
        if not done.acquire(blocking=False):
            raise SystemExit
        original(store, location, sums)

    from embsnap.formats.torchsnapshot import rewriter

    original = rewriter.record
    monkeypatch.setattr(rewriter, "record", record_then_die)
    monkeypatch.setattr(rewriter, "_withdraw", lambda *_: None)
    monkeypatch.setattr(rewriter.Attempt, "release", lambda *_: None)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_resumed_equals_uninterrupted(migration, tmp_path: Path) -> None:
    migration.write(str(tmp_path / "whole"))
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(SystemExit):
            migration.write(str(tmp_path / "out"))
    left = files(tmp_path / "out")
    assert any(name.endswith(".json") and "run" not in name for name in left)
    result = migration.write(str(tmp_path / "out"), resume=True)
    assert 2 * 4000 <= result.num_bytes_resumed < 16_000
    whole, resumed = files(tmp_path / "whole"), files(tmp_path / "out")
    same = {name for name in whole if not name.endswith(".json")}
    assert {name: resumed[name] for name in same} == {name: whole[name] for name in same}
    assert set(resumed) - set(whole) == {name for name in resumed if name.endswith("/run-1.json")}


def test_what_does_not_hold_its_sums_is_written_again(migration, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(SystemExit):
            migration.write(str(tmp_path / "out"))
    recorded = sorted(path for path in (tmp_path / "out").rglob("0*.json"))
    damaged = recorded[0].with_suffix("")
    data = bytearray(damaged.read_bytes())
    data[17] ^= 1
    damaged.chmod(0o644)
    damaged.write_bytes(data)
    result = migration.write(str(tmp_path / "out"), resume=True)
    assert 0 < result.num_bytes_resumed <= 4096
    np.testing.assert_array_equal(read_array(str(tmp_path / "out"), "user"), ROWS.astype(np.float16))


def test_another_plan_takes_nothing_over(migration, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(SystemExit):
            migration.write(str(tmp_path / "out"))
    result = migration.rename({"user": "member"}).write(str(tmp_path / "out"), resume=True)
    assert result.num_bytes_resumed == 0
    np.testing.assert_array_equal(read_array(str(tmp_path / "out"), "member"), ROWS.astype(np.float16))


def test_who_was_taken_over_commits_nothing(migration, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    first = claim_attempt(store, "ab" * 32, "test")
    second = take_over(store, "ab" * 32, "test")
    assert second is not None
    assert second.run_id == first.run_id
    assert not first.is_owned()
    assert second.is_owned()
    with pytest.raises(RefusedError, match="taken this attempt over"):
        first.check_owned()
    assert take_over(store, "cd" * 32, "test") is None


def test_a_failure_leaves_nothing_unless_it_is_to_be_resumed(migration, tmp_path: Path) -> None:
    def fail(*_):
        raise StorageError(embsnap.ErrorKind.DISK_FULL, "full")

    for resume in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                plans, "rewrite_snapshot", lambda *a, **k: rewrite_snapshot(*a, **k | {"before_commit": fail})
            )
            with pytest.raises(StorageError):
                migration.write(str(tmp_path / "out"), resume=resume)
        left = [name for name in files(tmp_path / "out") if name.endswith(("0", "1", "2", "3"))]
        assert bool(left) is resume
    assert migration.write(str(tmp_path / "out"), resume=True).num_bytes_resumed == 16_000


def test_of_two_one_commits(migration, tmp_path: Path) -> None:
    outcomes: list[object] = []
    barrier = threading.Barrier(2)

    def write() -> None:
        planned = migration.plan()
        barrier.wait()
        try:
            outcomes.append(planned.apply(str(tmp_path / "out")))
        except RefusedError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(isinstance(outcome, RefusedError) for outcome in outcomes) == [False, True]
    assert open_snapshot(str(tmp_path / "out")).findings == ()
    np.testing.assert_array_equal(read_array(str(tmp_path / "out"), "user"), ROWS.astype(np.float16))

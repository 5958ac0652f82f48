"""Copies of snapshots are equal byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.copying import CopyTally, CopyWhat
from embsnap.ops.copy import plan_copy, write_copy
from embsnap.ops.copy_blocks import Room
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import read_array
from tests.unit.ops.copying.snapshots import ROWS, copy, tree


@pytest.mark.parametrize("name", ["torch_made", "own"])
def test_a_snapshot_is_copied_byte_for_byte(name, request, tmp_path, memory) -> None:
    source = request.getfixturevalue(name)
    there = copy(source, memory.uri)
    back = copy(memory.uri, tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)
    assert there.what is CopyWhat.SNAPSHOT
    assert (
        there.total == there.copied == back.copied == CopyTally(len(tree(source)), sum(map(len, tree(source).values())))
    )
    assert there.present == CopyTally()
    assert there.findings == back.findings == ()
    np.testing.assert_array_equal(read_array(memory.uri, "user"), ROWS)


def test_how_much_is_checked_against_the_sidecar(own, torch_made, tmp_path) -> None:
    assert copy(own, tmp_path / "a").checked.num_objects == 1  # all rows are in one object
    assert copy(torch_made, tmp_path / "b").checked == CopyTally()


def test_a_step_of_a_run(torch_made, tmp_path) -> None:
    result = copy(f"{torch_made.parent}@latest", tmp_path / "out")
    assert result.source == str(torch_made)
    assert tree(tmp_path / "out") == tree(torch_made)


def test_what_does_not_belong_to_it_stays_behind(own, tmp_path) -> None:
    (own / "notes.txt").write_text("mine")
    (own / "embsnap" / "abababababab-0").mkdir()
    (own / "embsnap" / "abababababab-0" / "00000").write_bytes(b"of a run that died")
    result = copy(own, tmp_path / "out")
    assert not (tmp_path / "out" / "notes.txt").exists()
    assert [(each.kind, each.count) for each in result.findings] == [("not-copied", 2)]
    assert set(tree(own)) - set(tree(tmp_path / "out")) == {"notes.txt", "embsnap/abababababab-0/00000"}


def test_objects_of_entries_that_embsnap_does_not_know_come_along(tmp_path) -> None:
    builder = SnapshotBuilder()
    builder.tensor("model/a", ROWS)
    builder.entry("0/model/b", {"type": "Quantized", "parts": [{"location": "0/model/b"}, {"location": "gone"}]})
    builder.entry("0/model/c", {"type": "Quantized", "location": "../outside"})
    root = builder.write(tmp_path / "in")
    (root / "0" / "model").mkdir(parents=True)
    (root / "0" / "model" / "b").write_bytes(b"codes")
    copy(root, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(root)


def test_a_link_that_stays_within_the_snapshot_is_copied_as_its_object(torch_made, tmp_path) -> None:
    (torch_made / "0").rename(torch_made / "zero")
    (torch_made / "0").symlink_to("zero")
    copy(torch_made, tmp_path / "out")
    assert open_snapshot(str(tmp_path / "out")).findings == open_snapshot(str(torch_made)).findings
    assert (tmp_path / "out" / "0" / "model" / "over.bias").read_bytes() == ROWS[0].tobytes()


@pytest.mark.parametrize("block_bytes", [1, 7, 4096])
def test_objects_larger_than_a_block(torch_made, tmp_path, monkeypatch, block_bytes) -> None:
    monkeypatch.setattr(
        Room, "of", classmethod(lambda cls, sizes, threads, is_near: cls(2, max(256, block_bytes * 97)))
    )
    copy(torch_made, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(torch_made)


def test_room_is_bounded() -> None:
    gigabyte = 1 << 30
    assert Room.of([gigabyte] * 1000, threads=64, is_near=False).num_bytes == 256 << 20
    assert Room.of([gigabyte] * 1000, threads=64, is_near=True).num_bytes == 8 << 20
    assert Room.of([gigabyte], threads=2, is_near=False) == Room(1, 64 << 20)
    assert Room.of([10, 20], threads=2, is_near=False) == Room(2, 20)
    assert Room.of([], threads=2, is_near=True) == Room(1, 1)


def test_a_dry_run_writes_nothing(own, tmp_path) -> None:
    result = plan_copy(str(own), str(tmp_path / "out")).result()
    assert not result.applied
    assert result.copied == result.total
    assert not (tmp_path / "out").exists()


def test_progress_is_in_bytes_of_all_objects(torch_made, memory) -> None:
    class Observer:
        total = done = finished = 0

        def start(self, task, total, unit="B"):
            self.total += total

        def advance(self, task, amount):
            self.done += amount

        def finish(self, task):
            self.finished += 1

    observer = Observer()
    result = write_copy(plan_copy(str(torch_made), memory.uri), progress=observer)
    metadata = (torch_made / ".snapshot_metadata").stat().st_size
    assert observer.total == observer.done == result.total.num_bytes - metadata
    assert observer.finished

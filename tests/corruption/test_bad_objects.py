"""Objects that are not what the manifest says: nothing of them is handed out, and the message says where."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.storage.local import LocalStore
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.corruptors import edit_entry, object_of, truncate
from embsnap.testing.snapshots import SnapshotBuilder, row_shards

PATH = "model/ebc.embedding_bags.user.weight"
ROWS, DIM = 10, 4


@pytest.fixture(params=[True, False], ids=["batched", "unbatched"])
def root(request, tmp_path):
    builder = SnapshotBuilder(world_size=2, batched=request.param)
    table = np.arange(ROWS * DIM, dtype=np.float32).reshape(ROWS, DIM)
    builder.sharded(PATH, table, row_shards(table.shape, 2))
    return builder.write(tmp_path / "snapshot")


@pytest.fixture(params=[True, False], ids=["mapped", "by-ranges"])
def read(request, root):
    """Reads the table, by slice or by index."""

    def run(how):
        table = open_snapshot(str(root)).table("user")
        reader = ArrayReader(CountingStore(LocalStore(str(root)), maps=request.param), table.weight)
        rows_ND = np.full((ROWS, DIM), -1, np.float32)
        if how == "slice":
            reader.read(0, ROWS, rows_ND)
        else:
            reader.gather(np.arange(ROWS), rows_ND)
        return rows_ND

    return run


HOW = pytest.mark.parametrize("how", ["slice", "index"])


@HOW
def test_a_sound_one_is_read(read, how):
    assert read(how)[ROWS - 1].tolist() == [36, 37, 38, 39]


@HOW
def test_a_truncated_object(root, read, how):
    file = object_of(root, f"1/{PATH}")
    truncate(file, 1)
    error = refused(read, how)
    assert error.kind is ErrorKind.SHORT_OBJECT
    assert file.relative_to(root).as_posix() in str(error)


@HOW
def test_an_empty_object(root, read, how):
    file = object_of(root, f"1/{PATH}")
    file.write_bytes(b"")
    assert refused(read, how).kind is ErrorKind.SHORT_OBJECT


@HOW
def test_a_missing_object(root, read, how):
    object_of(root, f"1/{PATH}").unlink()
    error = refused(read, how)
    assert (error.kind, error.found) == (ErrorKind.MISSING_OBJECT, "none")


@HOW
def test_a_directory_in_an_objects_place(root, read, how):
    file = object_of(root, f"1/{PATH}")
    file.unlink()
    file.mkdir()
    assert refused(read, how).kind is ErrorKind.MISSING_OBJECT


def test_a_whole_object_that_is_longer(tmp_path):
    builder = SnapshotBuilder(batched=False)
    builder.tensor(PATH, np.zeros((ROWS, DIM), np.float32))
    root = builder.write(tmp_path)
    file = object_of(root, f"0/{PATH}")
    file.write_bytes(file.read_bytes() + b"x")
    snapshot = open_snapshot(str(root))
    with pytest.raises(SnapshotError) as caught:
        snapshot.reader(snapshot.table("user").weight).read(0, 1, np.empty((1, DIM), np.float32))
    assert (caught.value.kind, caught.value.found) == (ErrorKind.BAD_ENTRY, "161 bytes")


@HOW
def test_a_range_outside_of_its_object(root, read, how):
    shift(root, 10_000)
    error = refused(read, how)
    assert error.kind is ErrorKind.SHORT_OBJECT
    assert "at least 10080 bytes" in str(error)


def test_a_range_of_another_length(root):
    def shorten(entry):
        entry["shards"][0]["tensor"]["byte_range"] = [0, 4 * DIM * (ROWS // 2) - 1]

    edit_entry(root, f"1/{PATH}", shorten)
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(str(root)).table("user")
    error = caught.value
    assert (error.kind, error.expected) == (ErrorKind.BAD_ENTRY, "80 bytes for [5, 4] of float32")
    assert error.found == "[0, 79)"


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/passwd", "batched/../../secret", "a//b", "", ".", "a/./b", "a\0b", "\ud800"],
)
def test_unsafe_locations(root, tmp_path, location):
    (tmp_path / "secret").write_bytes(bytes(1000))

    def point_out(entry):
        entry["shards"][0]["tensor"].update(location=location, byte_range=None)

    edit_entry(root, f"1/{PATH}", point_out)
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(str(root)).table("user")
    error = caught.value
    assert error.kind is ErrorKind.UNSAFE_LOCATION
    assert any(finding.kind == "unsafe-location" for finding in open_snapshot(str(root)).findings)


@HOW
def test_a_symbolic_link_out_of_the_snapshot(root, tmp_path, read, how):
    (tmp_path / "secret").write_bytes(bytes(1000))
    file = object_of(root, f"1/{PATH}")
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    assert refused(read, how).kind is ErrorKind.UNSAFE_LOCATION


def refused(read, how):
    with pytest.raises(SnapshotError) as caught:
        read(how)
    return caught.value


def shift(root, by):
    def move(entry):
        entry["shards"][0]["tensor"]["byte_range"] = [by, by + 80]

    edit_entry(root, f"1/{PATH}", move)

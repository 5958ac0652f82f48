"""Sources that are not whole, and destinations that hold something, are refused."""

from __future__ import annotations

import pytest

from embsnap.errors import ErrorKind, NotFoundError, RefusedError, SnapshotError, StorageError, UsageError
from embsnap.model.copying import CopyTally
from embsnap.ops.copy import plan_copy, write_copy
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import write_arrays
from tests.unit.ops.copying.snapshots import ROWS, copy, flip_bit, tree


def test_a_damaged_object_is_noticed_and_named(own, tmp_path) -> None:
    target = next(own.glob("embsnap/*/00000"))
    flip_bit(target, 1000)
    with pytest.raises(
        SnapshotError, match=r"00000.*within \[0, 28800\).*CRC-32C [0-9a-f]{8}, as the sidecar"
    ) as caught:
        copy(own, tmp_path / "out")
    assert caught.value.kind == ErrorKind.CHECKSUM_MISMATCH
    assert not (tmp_path / "out" / ".snapshot_metadata").exists()
    assert not list((tmp_path / "out").rglob("00000"))
    flip_bit(target, 1000)
    copy(own, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(own)


def test_missing_and_short_objects_are_refused_before_anything_is_written(own, torch_made, tmp_path) -> None:
    with next(own.glob("embsnap/*/00000")).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(SnapshotError, match="28800 bytes, found 100 bytes") as caught:
        copy(own, tmp_path / "out")
    assert caught.value.kind == ErrorKind.SHORT_OBJECT
    (torch_made / "0" / "model" / "over.bias").unlink()
    with pytest.raises(SnapshotError, match=r"0/model/over\.bias: the object is missing") as caught:
        copy(torch_made, tmp_path / "out")
    assert caught.value.kind == ErrorKind.MISSING_OBJECT
    assert not (tmp_path / "out").exists()


def test_a_manifest_that_leaves_its_root_is_refused(tmp_path) -> None:
    builder = SnapshotBuilder()
    builder.tensor("model/a", ROWS)
    builder.entry(
        "0/model/b",
        {"type": "object", "location": "../../etc/passwd", "serializer": "", "obj_type": "", "replicated": False},
    )
    with pytest.raises(SnapshotError) as caught:
        copy(builder.write(tmp_path / "in"), tmp_path / "out")
    assert caught.value.kind == ErrorKind.UNSAFE_LOCATION


def test_a_sidecar_of_no_use_is_copied_and_noted(own, tmp_path) -> None:
    sidecar = next(own.glob(".embsnap/*.json"))
    sidecar.write_text("{}")
    result = copy(own, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(own)
    assert [each.kind for each in result.findings] == ["sidecar-ignored"]
    assert result.checked == CopyTally()


def test_a_torn_snapshot_is_not_copied(torch_made, tmp_path) -> None:
    (torch_made / ".snapshot_metadata").unlink()
    with pytest.raises(SnapshotError) as caught:
        copy(torch_made, tmp_path / "out")
    assert caught.value.kind == ErrorKind.TORN_SNAPSHOT


def test_a_run_is_not_copied_without_a_step(torch_made, tmp_path) -> None:
    with pytest.raises(SnapshotError, match="@latest"):
        copy(torch_made.parent, tmp_path / "out")


@pytest.mark.parametrize("uri", ["{}/nothing", "{}/no-*.parquet", "{}/run@latest"])
def test_nothing_there(tmp_path, uri) -> None:
    with pytest.raises(NotFoundError):
        copy(uri.format(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_replaced_meanwhile_is_not_committed(own, torch_made, tmp_path) -> None:
    plan = plan_copy(str(own), str(tmp_path / "a"))
    (own / ".snapshot_metadata").write_bytes((torch_made / ".snapshot_metadata").read_bytes())
    with pytest.raises(StorageError, match="replaced by another snapshot") as caught:
        write_copy(plan)
    assert caught.value.kind == ErrorKind.OBJECT_REPLACED
    plan = plan_copy(str(torch_made), str(tmp_path / "b"))
    (torch_made / "0" / "model" / "over.bias").write_bytes(bytes(32))
    with pytest.raises(StorageError, match=r"over\.bias: was replaced while") as caught:
        write_copy(plan)
    assert caught.value.kind == ErrorKind.OBJECT_REPLACED
    assert not list(tmp_path.glob("[ab]/.snapshot_metadata"))


def test_a_destination_with_anything_else_is_refused(own, torch_made, tmp_path) -> None:
    write_arrays(str(tmp_path / "committed"), {"user": ROWS + 1})
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    (tmp_path / "unclaimed" / "0" / "model").mkdir(parents=True)
    (tmp_path / "unclaimed" / "0" / "model" / "over.bias").write_bytes(ROWS[0].tobytes())
    (tmp_path / "other size" / "0" / "model").mkdir(parents=True)
    (tmp_path / "other size" / "0" / "model" / "over.bias").write_bytes(b"")
    names = ["committed", "foreign", "unclaimed", "other size"]
    before = {name: tree(tmp_path / name) for name in names}
    messages = {}
    for name in names:
        with pytest.raises(RefusedError) as caught:
            copy(torch_made, tmp_path / name)
        messages[name] = caught.value.problem
    assert messages == {
        "committed": "holds a snapshot already",
        "foreign": "holds 'notes.txt', which this copy did not write",
        "unclaimed": "holds '0/model/over.bias', which no copy claims to have written",
        "other size": "holds '0/model/over.bias', which this copy did not write",
    }
    assert {name: tree(tmp_path / name) for name in names} == before


def test_the_same_snapshot_again_is_refused_as_such(own, tmp_path) -> None:
    copy(own, tmp_path / "out")
    with pytest.raises(RefusedError, match="this very snapshot already"):
        copy(own, tmp_path / "out")


def test_leftovers_of_runs_are_passed_by_and_noted(own, tmp_path) -> None:
    (tmp_path / "out" / "embsnap" / "abababababab-0").mkdir(parents=True)
    (tmp_path / "out" / "embsnap" / "abababababab-0" / "run.json").write_text("{}")
    result = copy(own, tmp_path / "out")
    assert [each.kind for each in result.findings] == ["leftovers"]


def test_a_destination_within_the_source(own, tmp_path) -> None:
    with pytest.raises(UsageError, match="lies within") as caught:
        copy(own, own / "backup")
    assert caught.value.kind == ErrorKind.BAD_OPTION
    assert copy(own, tmp_path / "own2").applied  # a name that only begins the same

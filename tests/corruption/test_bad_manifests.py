"""Manifests that cannot be right: tables are refused, and `findings` name every defect."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.findings import Severity
from embsnap.testing.corruptors import edit_entry, edit_metadata
from embsnap.testing.snapshots import SnapshotBuilder, row_shards

PATH = "model/ebc.embedding_bags.user.weight"


@pytest.fixture
def root(tmp_path):
    builder = SnapshotBuilder(world_size=3)
    table = np.zeros((10, 4), np.float32)
    builder.sharded(PATH, table, row_shards(table.shape, 3))
    return builder.write(tmp_path)


def refused(root):
    """The error of the table, after proof that the findings hold it as well."""
    snapshot = open_snapshot(str(root))
    with pytest.raises(SnapshotError) as caught:
        snapshot.table("user")
    error = caught.value
    assert (Severity.ERROR, error.kind.value) in {(finding.severity, finding.kind) for finding in snapshot.findings}
    assert PATH in str(error)
    return error


def drop_entry(root, path, *, and_its_key=False):
    def drop(fields):
        del fields["manifest"][path]
        if and_its_key:
            container, _, key = path.rpartition("/")
            fields["manifest"][container]["keys"].remove(key)

    edit_metadata(root, drop)


def test_a_gap(root):
    edit_entry(root, f"1/{PATH}", lambda entry: entry["shards"].clear())
    error = refused(root)
    assert (error.kind, error.found) == (ErrorKind.BAD_COVER, "no piece holds rows [4, 8) of the shape [10, 4]")


def test_an_overlap(root):
    edit_entry(root, f"1/{PATH}", lambda entry: entry["shards"][0].update(offsets=[3, 0]))
    error = refused(root)
    assert error.kind is ErrorKind.BAD_COVER
    assert error.found == "element [3, 0] is in 2 pieces: [0, 4) × [0, 4), [3, 7) × [0, 4)"


def test_no_shards_at_all(root):
    for rank in range(3):
        edit_entry(root, f"{rank}/{PATH}", lambda entry: entry["shards"].clear())
    assert refused(root).kind is ErrorKind.BAD_COVER


def test_a_last_shard_that_the_manifest_lost(root):
    """The rest covers a smaller table exactly; only the container's key tells."""
    drop_entry(root, f"2/{PATH}")
    error = refused(root)
    assert (error.kind, error.found) == (ErrorKind.BAD_COVER, "none under rank 2, whose container names it")


def test_a_last_shard_that_even_the_container_lost(root):
    """Nothing contradicts the rest any more but torchrec's habit of listing every table on every rank."""
    drop_entry(root, f"2/{PATH}", and_its_key=True)
    (finding,) = open_snapshot(str(root)).findings
    assert (finding.severity, finding.kind, finding.place) == (Severity.WARNING, "unlisted-shards", PATH)


def test_a_world_size_that_is_too_large(root):
    edit_metadata(root, lambda fields: fields.update(world_size=4))
    error = refused(root)
    assert (error.kind, error.found) == (ErrorKind.BAD_COVER, "no entry of rank 3")


@pytest.mark.parametrize("world_size", [2, 1, 0, -1, True, "3", None, 2.0])
def test_a_world_size_that_cannot_be(root, world_size):
    edit_metadata(root, lambda fields: fields.update(world_size=world_size))
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(str(root))
    error = caught.value
    assert error.kind is ErrorKind.BAD_METADATA
    assert "world size" in str(error)


def test_an_enormous_world_size(root):
    edit_metadata(root, lambda fields: fields.update(world_size=10**15))
    assert refused(root).kind is ErrorKind.BAD_COVER


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"offsets": [4]}, "offsets [4] and sizes [4, 4]"),
        ({"sizes": [4, 5]}, "sizes [4, 5] has a tensor of shape [4, 4]"),
        ({"offsets": [-4, 0]}, "field offsets is [-4, 0]"),
        ({"offsets": [4.0, 0]}, "field offsets is [4.0, 0]"),
        ({"offsets": [0] * 65}, "field offsets"),
        ({"sizes": "44"}, "field sizes is '44', not list"),
        ({"tensor": 3}, "field tensor is 3, not dict"),
    ],
)
def test_fields_that_cannot_be_right(root, change, problem):
    edit_entry(root, f"1/{PATH}", lambda entry: entry["shards"][0].update(change))
    error = refused(root)
    assert error.kind is ErrorKind.BAD_ENTRY
    assert problem in str(error)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"byte_range": [16, 0]}, ErrorKind.BAD_ENTRY),
        ({"byte_range": [0, 10**15]}, ErrorKind.BAD_ENTRY),
        ({"byte_range": [0]}, ErrorKind.BAD_ENTRY),
        ({"dtype": "torch.float8_e4m3fn"}, ErrorKind.BAD_ENTRY),
        ({"dtype": "float32"}, ErrorKind.BAD_ENTRY),
        ({"dtype": "torch.int32"}, ErrorKind.BAD_ENTRY),
        ({"dtype": None}, ErrorKind.BAD_ENTRY),
        ({"serializer": "torch_save"}, ErrorKind.OPAQUE_ENTRY),
        ({"location": 5}, ErrorKind.BAD_ENTRY),
    ],
)
def test_tensors_that_cannot_be_read(root, change, kind):
    edit_entry(root, f"1/{PATH}", lambda entry: entry["shards"][0]["tensor"].update(change))
    assert refused(root).kind is kind


def test_huge_shapes_are_refused_by_arithmetic_alone(root):
    def grow(entry):
        entry["shards"][0].update(sizes=[10**18, 10**18])
        entry["shards"][0]["tensor"].update(shape=[10**18, 10**18])

    edit_entry(root, f"1/{PATH}", grow)
    assert refused(root).kind is ErrorKind.BAD_ENTRY


def test_sharded_on_one_rank_and_whole_on_another(root):
    def replace(fields):
        fields["manifest"][f"1/{PATH}"] = fields["manifest"][f"1/{PATH}"]["shards"][0]["tensor"]

    edit_metadata(root, replace)
    assert refused(root).kind is ErrorKind.BAD_ENTRY


def test_what_is_unknown_is_kept_and_shown(root):
    def extend(fields):
        fields["manifest"]["0/future"] = {"type": "Hologram", "depth": 3}
        fields["manifest"][f"1/{PATH}"]["digest"] = "abc"
        fields["signature"] = "xyz"

    edit_metadata(root, extend)
    snapshot = open_snapshot(str(root))
    assert snapshot.manifest.entries["0/future"].fields == {"type": "Hologram", "depth": 3}
    assert snapshot.manifest.entries[f"1/{PATH}"].extra == {"digest": "abc"}
    assert snapshot.manifest.extra == {"signature": "xyz"}
    assert snapshot.table("user").num_embeddings == 10
    found = {finding.kind: (finding.severity, finding.examples) for finding in snapshot.findings}
    assert found == {
        "unknown-entry": (Severity.WARNING, ("0/future",)),
        "unknown-fields": (Severity.NOTE, (f"1/{PATH}", "the field signature")),
    }


def test_two_entries_that_share_bytes(root):
    def share(fields):
        entry = fields["manifest"][f"2/{PATH}"]["shards"][0]["tensor"]
        entry["byte_range"] = [20, 20 + 32]

    edit_metadata(root, share)
    (finding,) = open_snapshot(str(root)).findings
    assert (finding.severity, finding.kind) == (Severity.WARNING, "shared-bytes")


def test_copies_of_different_shape(tmp_path):
    builder = SnapshotBuilder(world_size=2)
    for rank, num_rows in ((0, 3), (1, 4)):
        builder.tensor(PATH, np.zeros((num_rows, 2), np.float32), rank=rank)
    (finding,) = open_snapshot(str(builder.write(tmp_path))).findings
    assert (finding.severity, finding.kind) == (Severity.ERROR, "unequal-copies")
    assert "[4, 2]" in finding.message

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError, UsageError
from embsnap.formats.sidecar import Sidecar, TableVocabulary, sidecar_location
from embsnap.formats.torchsnapshot import snapshot as snapshot_module
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.findings import Severity
from embsnap.storage.uri import open_store
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.snapshots import SnapshotBuilder, row_shards

PATH = "model/ebc.embedding_bags.user.weight"


@pytest.fixture
def root(tmp_path):
    builder = SnapshotBuilder(world_size=2)
    builder.sharded(PATH, np.ones((6, 4), np.float32), row_shards((6, 4), 2))
    for name, value in {"step": 7, "big": 2**70, "text": "a\nb", "flag": True, "raw": b"\0\xff", "pi": 3.5}.items():
        builder.value(f"extra_state/{name}", value)
    builder.value("extra_state/nan", float("nan"), rank=1)
    builder.tensor("model/cube", np.zeros((2, 2, 2), np.float32))
    return builder.write(tmp_path / "7")


def put_sidecar(root, **changes):
    metadata = (root / ".snapshot_metadata").read_bytes()
    fields = {"metadata_sha256": hashlib.sha256(metadata).hexdigest(), "tool": "t", "created": "c", "objects": {}}
    sidecar = Sidecar(**{**fields, "tables": {"user": TableVocabulary("v", "f")}, **changes})
    file = root / sidecar_location(metadata)
    file.parent.mkdir()
    file.write_bytes(sidecar.to_bytes())
    return file


@pytest.mark.parametrize(
    ("name", "value"), [("step", 7), ("big", 2**70), ("text", "a\nb"), ("flag", True), ("raw", b"\0\xff"), ("pi", 3.5)]
)
def test_values(root, name, value):
    snapshot = open_snapshot(str(root))
    for path in (f"extra_state/{name}", f"0/extra_state/{name}"):
        found = snapshot.value(path)
        assert (found, type(found)) == (value, type(value))


def test_the_value_of_another_rank(root):
    assert np.isnan(open_snapshot(str(root)).value("1/extra_state/nan"))
    assert np.isnan(open_snapshot(str(root)).value("extra_state/nan"))


@pytest.mark.parametrize("path", ["extra_state/none", "0/extra_state", PATH])
def test_no_value(root, path):
    with pytest.raises(NotFoundError) as caught:
        open_snapshot(str(root)).value(path)
    assert caught.value.kind is ErrorKind.NO_SUCH_OBJECT


def test_arrays_by_path(root):
    snapshot = open_snapshot(str(root))
    assert snapshot.array(PATH).shape == (6, 4)
    assert snapshot.array(f"1/{PATH}").shape == (6, 4)
    assert snapshot.array("0/model/cube").shape == (2, 2, 2)
    with pytest.raises(NotFoundError):
        snapshot.array("extra_state/step")


def test_a_cube_has_no_rows(root):
    snapshot = open_snapshot(str(root))
    with pytest.raises(UsageError, match="two dimensions"):
        snapshot.reader(snapshot.array("model/cube"))


def test_opening_reads_two_objects_and_lists_nothing(root, monkeypatch):
    opened = []

    def counting(uri, options=None):
        opened.append(CountingStore(open_store(uri, options)))
        return opened[-1]

    monkeypatch.setattr(snapshot_module, "open_store", counting)
    put_sidecar(root)
    assert open_snapshot(str(root)).sidecar is not None
    assert [store.requests for store in opened] == [{"read": 2}]


def test_the_sidecar_is_found(root):
    put_sidecar(root)
    snapshot = open_snapshot(str(root))
    assert snapshot.sidecar.tables["user"].uri == "v"
    assert snapshot.findings == ()


@pytest.mark.parametrize("change", ["other", "broken"])
def test_a_sidecar_that_cannot_be_trusted_is_ignored_with_a_finding(root, change):
    file = put_sidecar(root, **({"metadata_sha256": "0" * 64} if change == "other" else {}))
    if change == "broken":
        file.write_text("{")
    snapshot = open_snapshot(str(root))
    assert snapshot.sidecar is None
    (finding,) = snapshot.findings
    assert (finding.severity, finding.kind) == (Severity.WARNING, "sidecar-ignored")


class TestWhatItIsInstead:
    def refused(self, uri):
        with pytest.raises(SnapshotError) as caught:
            open_snapshot(str(uri))
        return caught.value

    def test_nothing(self, tmp_path):
        with pytest.raises(NotFoundError, match="there is nothing"):
            open_snapshot(str(tmp_path / "none"))

    def test_nothing_in_a_directory_that_is_none_either(self, tmp_path):
        with pytest.raises(NotFoundError, match="there is nothing"):
            open_snapshot(str(tmp_path / "none" / "none"))

    def test_an_empty_directory(self, tmp_path):
        assert self.refused(tmp_path).found == "an empty directory"

    def test_a_torn_snapshot(self, root):
        (root / ".snapshot_metadata").unlink()
        assert self.refused(root).kind is ErrorKind.TORN_SNAPSHOT

    def test_a_torn_snapshot_of_rank_directories(self, tmp_path):
        builder = SnapshotBuilder(batched=False)
        builder.tensor("model/w", np.zeros((2, 2), np.float32))
        assert self.refused(builder.write(tmp_path, commit=False)).kind is ErrorKind.TORN_SNAPSHOT

    def test_a_run(self, root):
        error = self.refused(root.parent)
        assert (error.kind, error.found) == (ErrorKind.NOT_A_SNAPSHOT, "a run with 1 committed steps up to 7")
        assert f"{root.parent}@latest" in error.hint

    def test_a_run_of_torn_steps(self, root):
        (root / ".snapshot_metadata").unlink()
        (root.parent / "8").mkdir()
        error = self.refused(root.parent)
        assert (error.kind, error.found) == (ErrorKind.TORN_SNAPSHOT, "torn steps 7, 8")
        assert error.problem.startswith("is a run of which no step is committed")

    def test_the_metadata_file_itself(self, root):
        error = self.refused(root / ".snapshot_metadata")
        assert (error.found, error.hint) == ("a single file", f"give the directory {root}")

    def test_a_dcp_checkpoint(self, tmp_path):
        (tmp_path / ".metadata").write_bytes(b"x")
        assert "torch.distributed.checkpoint" in self.refused(tmp_path).found

    def test_a_vocabulary(self, tmp_path):
        (tmp_path / "part-0.parquet").write_bytes(b"x")
        assert self.refused(tmp_path).found == "a directory of parquet files"

    def test_anything_else(self, tmp_path):
        for name in "abcdefg":
            (tmp_path / name).write_bytes(b"x")
        assert self.refused(tmp_path).found == "a directory with 7 other things: a, b, c, d, e, …"

    def test_the_metadata_is_a_directory(self, tmp_path):
        (tmp_path / ".snapshot_metadata").mkdir()
        assert self.refused(tmp_path).kind is ErrorKind.NOT_A_SNAPSHOT

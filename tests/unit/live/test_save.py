"""`embsnap.save` of what is not sharded: torchsnapshot restores it, and what its own `take` gets wrong is right."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchrec")

import torch.distributed as dist  # noqa: E402
from torch import nn  # noqa: E402
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig  # noqa: E402
from torchrec.modules.embedding_configs import DataType  # noqa: E402
from torchsnapshot import Snapshot, StateDict  # noqa: E402

import embsnap  # noqa: E402
from embsnap.config.embedding import LargeEmbeddingsConfig  # noqa: E402
from embsnap.errors import EmbsnapError, ErrorKind, IncompatibleError, RefusedError, StorageError, UsageError  # noqa: E402
from embsnap.formats.torchsnapshot import layout  # noqa: E402
from embsnap.formats.vocabulary_writer import write_vocabulary  # noqa: E402
from embsnap.live import save as saving  # noqa: E402
from embsnap.model.manifest import ObjectEntry, PrimitiveEntry  # noqa: E402
from embsnap.ops.verify.verify import verify  # noqa: E402
from embsnap.storage.uri import open_store  # noqa: E402
from embsnap.storage.wrappers import WrapperStore  # noqa: E402
from embsnap.testing.faults import Fault, FaultStore, disk_full  # noqa: E402
from embsnap.testing.tables import read_array  # noqa: E402
from embsnap.testing.vocabularies import make_vocabulary  # noqa: E402
from tests.servers.gcs import Bucket  # noqa: E402


class Model(nn.Module):
    """A table of each type, layers, and the tensors that torchsnapshot's own writer stumbles over."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        types = {"user": DataType.FP32, "item": DataType.BF16, "query": DataType.FP16}
        self.ebc = EmbeddingBagCollection(
            tables=[
                EmbeddingBagConfig(
                    name=name, num_embeddings=7, embedding_dim=3, feature_names=[name], data_type=data_type
                )
                for name, data_type in types.items()
            ]
        )
        self.dense = nn.Linear(4, 3)
        self.conv = nn.Conv2d(2, 3, (2, 2))
        self.register_buffer("odd", torch.randn(3).bfloat16())
        self.register_buffer("empty", torch.zeros(0, 4))
        self.register_buffer("complex", torch.randn(3, dtype=torch.complex64))
        self.register_buffer("transposed", torch.randn(4, 6).t())
        self.register_buffer("scalar", torch.randn(()))
        self.register_buffer("flags", torch.tensor([True, False]))


def assert_same(model: nn.Module, other: nn.Module) -> None:
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_two_steps_are_told_apart(tmp_path: Path) -> None:
    """By their metadata, from which a replaced snapshot, the history and lineage know them."""
    model, uri = Model(1), str(tmp_path / "s")
    first = embsnap.save(model, uri)
    snapshot = embsnap.open_snapshot(uri)
    (tmp_path / "s").rename(tmp_path / "before")
    assert embsnap.save(model, uri).metadata_sha256 != first.metadata_sha256
    with pytest.raises(StorageError, match="replaced"):
        snapshot.check_unchanged()


@pytest.mark.parametrize("piece_bytes", [None, 24])
def test_torchsnapshot_restores_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int | None
) -> None:
    if piece_bytes is not None:
        monkeypatch.setattr(layout, "PIECE_BYTES", piece_bytes)
        monkeypatch.setattr(layout, "OBJECT_BYTES", 200)
    model = Model(1)
    optimizer = torch.optim.Adam(model.dense.parameters())
    model.dense(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    extra = {
        "step": 7,
        "seen": np.int64(9),
        "pair": (1, 2),
        "none": None,
        "list": [1, {"x": torch.arange(3)}],
        "k/%": "é",
    }
    embsnap.save({"model": model, "optimizer": optimizer, "extra": extra}, str(tmp_path / "s"))
    restored, again = (
        Model(2),
        StateDict(step=0, seen=0, pair=None, none=1, list=[0, {"x": torch.zeros(3).long()}], **{"k/%": ""}),
    )
    other = torch.optim.Adam(restored.dense.parameters())
    Snapshot(str(tmp_path / "s")).restore({"model": restored, "optimizer": other, "extra": again})
    assert_same(model, restored)
    assert {name: value for name, value in again.items() if name != "list"} == {
        name: value for name, value in extra.items() if name != "list"
    }
    assert again["list"][1]["x"].tolist() == [0, 1, 2]
    found, expected = other.state_dict(), optimizer.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    assert torch.equal(found["state"][0]["exp_avg"], expected["state"][0]["exp_avg"])


def test_it_verifies_and_is_what_take_would_write(tmp_path: Path) -> None:
    model = Model(1)
    for name in ("empty", "odd"):
        delattr(model, name)  # which `take` cannot write
    written = embsnap.save(model, str(tmp_path / "ours"))
    Snapshot.take(str(tmp_path / "theirs"), {"model": model})
    ours, theirs = embsnap.open_snapshot(str(tmp_path / "ours")), embsnap.open_snapshot(str(tmp_path / "theirs"))
    assert written.metadata_sha256 == ours.metadata_sha256
    assert set(ours.manifest.entries) == set(theirs.manifest.entries)
    assert ours.manifest.entries["0/model"] == theirs.manifest.entries["0/model"]
    assert not [finding for finding in verify(str(tmp_path / "ours")).findings if finding.severity != "note"]


def test_an_async_save_is_of_its_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    class Waiting(WrapperStore):
        def writer(self, location: str) -> Any:
            assert gate.wait(60)
            return super().writer(location)

    monkeypatch.setattr(saving, "open_store", lambda uri, options: Waiting(open_store(uri, options)))
    model, kept = Model(1), Model(1)
    pending = embsnap.async_save(model, str(tmp_path / "s"))
    for value in model.state_dict().values():
        value.zero_()
    assert not pending.done()
    with pytest.raises(TimeoutError):
        pending.wait(0.01)
    gate.set()
    assert pending.wait(60).uri == str(tmp_path / "s")
    assert pending.done()
    restored = Model(2)
    Snapshot(str(tmp_path / "s")).restore({"model": restored})
    assert_same(kept, restored)


def test_a_job_may_leave_its_group_before_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an error in the thread that writes, which pytest would report."""
    gate = threading.Event()
    write = saving.write_objects
    monkeypatch.setattr(saving, "write_objects", lambda *a, **options: gate.wait(60) and write(*a, **options))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    pending = embsnap.async_save(Model(1), str(tmp_path / "s"))
    dist.destroy_process_group()
    gate.set()
    assert pending.wait(60).uri == str(tmp_path / "s")
    pending._thread.join()


@pytest.mark.parametrize("save", [embsnap.save, lambda *a: embsnap.async_save(*a).wait(60)])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Any) -> None:
    fault = Fault("write", disk_full)
    monkeypatch.setattr(saving, "open_store", lambda uri, options: FaultStore(open_store(uri, options), fault))
    with pytest.raises(StorageError, match="No space left"):
        save(Model(1), str(tmp_path / "s"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("save", [embsnap.save, embsnap.async_save])
def test_a_taken_destination_is_refused(tmp_path: Path, save: Any) -> None:
    embsnap.save(Model(1), str(tmp_path))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(RefusedError, match="holds a snapshot already"):
        save(Model(2), str(tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


class Opaque:
    """Nothing that a safe loader would load."""


@pytest.mark.parametrize(
    ("value", "error", "kind", "said"),
    [
        (Opaque(), UsageError, ErrorKind.BAD_OPTION, "extra/value.*runs code.*Opaque"),
        (torch.zeros(3, device="meta"), UsageError, ErrorKind.BAD_OPTION, "meta device"),
        (torch.zeros(3, dtype=torch.float8_e4m3fn), IncompatibleError, ErrorKind.NOT_REPRESENTABLE, "float8_e4m3fn"),
        (torch.eye(3).to_sparse(), IncompatibleError, ErrorKind.NOT_REPRESENTABLE, "sparse"),
    ],
)
def test_what_could_not_be_restored_is_refused(
    tmp_path: Path, value: Any, error: type[Exception], kind: ErrorKind, said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        embsnap.save({"extra": {"value": value}}, str(tmp_path / "s"))
    assert getattr(caught.value, "kind", None) is kind
    assert not (tmp_path / "s").exists()


def test_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a snapshot of nothing"):
        embsnap.save({}, str(tmp_path / "s"))


def test_keys_that_are_one_as_text_stay_apart(tmp_path: Path) -> None:
    embsnap.save({"extra": {"clash": {1: "a", "1": "b"}, "list": [True, 2.5]}}, str(tmp_path / "s"))
    entries = embsnap.open_snapshot(str(tmp_path / "s")).manifest.entries
    assert isinstance(entries["0/extra/clash"], ObjectEntry)
    assert isinstance(entries["0/extra/list/1"], PrimitiveEntry)
    extra = StateDict(clash=None, list=[False, 0.0])
    Snapshot(str(tmp_path / "s")).restore({"extra": extra})
    assert extra == {"clash": {1: "a", "1": "b"}, "list": [True, 2.5]}


def test_the_vocabularies_of_a_config_are_recorded(tmp_path: Path) -> None:
    write_vocabulary(make_vocabulary([5, 6, 7]), str(tmp_path / "user.parquet"))
    table = {"name": "user", "num_embeddings": 7, "embedding_dim": 3, "vocab": str(tmp_path / "user.parquet")}
    other = {"name": "item", "num_embeddings": 7, "embedding_dim": 3}
    config = LargeEmbeddingsConfig.model_validate({"tables": [table, other]})
    embsnap.save(Model(1), str(tmp_path / "s"), options=embsnap.SaveOptions(config=config))
    sidecar = embsnap.open_snapshot(str(tmp_path / "s")).sidecar
    assert sidecar is not None
    assert {name: found.uri for name, found in sidecar.tables.items()} == {"user": str(tmp_path / "user.parquet")}
    assert sidecar.tables["user"].fingerprint.startswith("v1:int64:3:")


@pytest.mark.parametrize(
    ("table", "rows", "kind", "said"),
    [
        ({"name": "usr"}, range(3), ErrorKind.NO_SUCH_TABLE, "one of user, item, query"),
        ({"num_embeddings": 70}, range(70), ErrorKind.SHAPE_MISMATCH, r"expected \[70, 3\], found \[7, 3\]"),
        ({}, range(8), ErrorKind.ROW_OUT_OF_RANGE, "trained with"),
    ],
    ids=["unknown", "other shape", "rows beyond"],
)
def test_a_vocabulary_of_another_table_is_not_recorded(
    tmp_path: Path, table: dict[str, Any], rows: range, kind: ErrorKind, said: str
) -> None:
    write_vocabulary(make_vocabulary(list(rows)), str(tmp_path / "v.parquet"))
    fields = {"name": "user", "num_embeddings": 7, "embedding_dim": 3, "vocab": str(tmp_path / "v.parquet")} | table
    config = LargeEmbeddingsConfig.model_validate({"tables": [fields]})
    with pytest.raises(EmbsnapError, match=said) as caught:
        embsnap.save(Model(1), str(tmp_path / "s"), options=embsnap.SaveOptions(config=config))
    assert caught.value.kind is kind
    assert not (tmp_path / "s").exists()


def test_a_copy_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "available_memory", lambda: 100)
    with pytest.raises(UsageError, match="no memory for a copy"):
        embsnap.async_save(Model(1), str(tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_it_saves_to_a_bucket(gcs: Bucket) -> None:
    model = Model(1)
    written = embsnap.async_save(model, gcs.uri("s")).wait(60)
    snapshot = embsnap.open_snapshot(written.uri)
    for name in ("user", "item", "query"):
        rows = model.ebc.embedding_bags[name].weight.detach()
        np.testing.assert_array_equal(read_array(snapshot, name).astype(np.float32), rows.float().numpy())
    with pytest.raises(RefusedError):
        embsnap.save(model, gcs.uri("s"))


@pytest.mark.gpu
@pytest.mark.parametrize("save", [embsnap.save, lambda *a: embsnap.async_save(*a).wait(60)])
def test_tensors_on_a_gpu_are_saved(tmp_path: Path, save: Any) -> None:
    model = Model(1).cuda()
    save(model, str(tmp_path / "s"))
    restored = Model(2)
    Snapshot(str(tmp_path / "s")).restore({"model": restored})
    assert_same(model.cpu(), restored)

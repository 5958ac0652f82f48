"""torchsnapshot 0.1.0 restores what embsnap writes, in one process."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
from torchrec.modules.embedding_configs import DataType
from torchsnapshot import Snapshot, StateDict
from torchsnapshot.manifest import SnapshotMetadata

from embsnap.formats.dtypes import from_numpy
from embsnap.formats.torchsnapshot import layout
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.storage.uri import open_store
from embsnap.testing.tables import ArrayRows

TYPES = {"float32": DataType.FP32, "float16": DataType.FP16, "bfloat16": DataType.BF16}
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.{}.weight/{}.momentum1"


@pytest.fixture(params=["whole", "cut"])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether arrays are cut into pieces over several objects."""
    if request.param == "cut":
        monkeypatch.setattr(layout, "PIECE_BYTES", 1000)
        monkeypatch.setattr(layout, "OBJECT_BYTES", 2500)
    return str(request.param)


@pytest.fixture(params=["batched", "unbatched"], autouse=True)
def _batching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchsnapshot reads batched by default, and swallows errors then; unbatched it raises them."""
    if request.param == "unbatched":
        monkeypatch.setenv("TORCHSNAPSHOT_DISABLE_BATCHING", "1")


def random_array(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.random.default_rng(len(shape)).normal(scale=9, size=shape).astype(dtype)


def write(path: Path, arrays: Mapping[str, NDArray[Any]], form: Any = "sharded", **values: Any) -> None:
    """Paths below `optimizer/` are written as tensors, the others as asked for."""
    to_write = []
    for name, array in arrays.items():
        rows = array.reshape(array.shape[0] if array.ndim else 1, array.shape[1] if array.ndim == 2 else 1)
        own_form = "tensor" if name.startswith("optimizer/") else form
        to_write.append(ArrayToWrite(name, from_numpy(array.dtype), array.shape, ArrayRows(rows), own_form))
    extra = {f"extra_state/{name}": value for name, value in values.items()}
    write_snapshot(open_store(str(path)), to_write, plan_digest="ab" * 32, values=extra)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


class Model(nn.Module):
    """Buffers of the given shapes and dtypes, filled with ones."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        for name, array in arrays.items():
            self.register_buffer(name, torch.ones(array.shape, dtype=getattr(torch, array.dtype.name)))


def test_a_plain_embedding_bag_collection(tmp_path: Path, cut: str) -> None:
    shapes = {"user": (101, 16, "float32"), "post": (1, 4096, "float16"), "tag": (33, 1, "bfloat16")}
    weights = {
        name: random_array((rows, dim), ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        for name, (rows, dim, dtype) in shapes.items()
    }
    arrays = {f"model/ebc.embedding_bags.{name}.weight": weight for name, weight in weights.items()}
    arrays |= {STATE.format(name, name): random_array((shapes[name][0],), "float32") for name in shapes}
    write(tmp_path, arrays, step=7)

    model = nn.Module()
    model.ebc = EmbeddingBagCollection(
        tables=[
            EmbeddingBagConfig(
                name=name,
                num_embeddings=rows,
                embedding_dim=dim,
                feature_names=[name],
                data_type=TYPES[dtype],
            )
            for name, (rows, dim, dtype) in shapes.items()
        ]
    )
    model.ebc.embedding_bags["tag"].to(torch.bfloat16)  # an unsharded EmbeddingBagCollection makes it float16
    step = StateDict(step=0)
    Snapshot(str(tmp_path)).restore({"model": model, "extra_state": step})
    for name, weight in weights.items():
        assert bits(model.ebc.embedding_bags[name].weight) == weight.tobytes()
    assert step["step"] == 7


@pytest.mark.parametrize("form", ["sharded", "tensor"])
def test_every_dtype_and_odd_shape(tmp_path: Path, cut: str, form: str) -> None:
    dtypes = ["float64", "float32", "float16", ml_dtypes.bfloat16, "int64", "int32", "int16", "int8", "uint8", "bool"]
    shapes = [(0, 4), (1, 1), (3, 1), (5, 3), (301, 7), (0,), (1,), (37,), ()]
    arrays = {
        f"{np.dtype(dtype).name}_{'x'.join(map(str, shape))}": random_array(shape, dtype)
        for dtype in dtypes
        for shape in shapes
    }
    write(tmp_path, {f"model/{name}": array for name, array in arrays.items()}, form)
    model = Model(arrays)
    Snapshot(str(tmp_path)).restore({"model": model})
    for name, array in arrays.items():
        assert bits(getattr(model, name)) == array.tobytes(), name


def test_optimizer_state_and_values_of_a_state_dict(tmp_path: Path, cut: str) -> None:
    momentum = random_array((333,), "float32")
    values = {"step": 7, "walltime": 0.1, "name": "h\xe9/%2F\n: [x]", "done": True, "key": b"\0\xff"}
    write(tmp_path, {"model/w": random_array((3, 2), "float32"), STATE.format("a%2Fb", "a%2Fb"): momentum}, **values)
    key = "fused_opt.ebc.embedding_bags.a/b.weight"
    optimizer = StateDict(state={key: {"a/b.momentum1": torch.zeros(333)}})
    extra = StateDict(**dict.fromkeys(values, 0))
    snapshot = Snapshot(str(tmp_path))
    snapshot.restore({"optimizer": optimizer, "extra_state": extra, "model": Model({"w": np.zeros((3, 2), "f4")})})
    assert bits(optimizer["state"][key]["a/b.momentum1"]) == momentum.tobytes()
    assert dict(extra) == values
    read = snapshot.read_object("0/" + STATE.format("a%252Fb", "a%252Fb").replace("%25", "%"))
    assert bits(read) == momentum.tobytes()


@pytest.mark.filterwarnings("ignore:.*(socket|BaseEventLoop).*:pytest.PytestUnraisableExceptionWarning")
def test_sharded_optimizer_state_would_keep_the_model_from_being_restored(tmp_path: Path) -> None:
    """Why optimizer state is written as tensors: 0.1.0 reads a sharded entry only into a live one of the same key."""
    weight, momentum = random_array((5, 2), "float32"), random_array((5,), "float32")
    write(tmp_path / "tensor", {"model/w": weight, STATE.format("w", "w"): momentum})
    write(tmp_path / "sharded", {"model/w": weight, STATE.format("w", "w").replace("optimizer", "opt"): momentum})
    model = Model({"w": weight})
    Snapshot(str(tmp_path / "tensor")).restore({"model": model})
    assert bits(model.w) == weight.tobytes()
    with pytest.raises(RuntimeError, match="Reading a ShardedTensor without a runtime object"):
        Snapshot(str(tmp_path / "sharded")).restore({"model": model})
    gc.collect()  # torchsnapshot leaves its event loop open when it fails


def test_torchsnapshot_would_write_the_same_metadata(tmp_path: Path, cut: str) -> None:
    """But for floats, whose readable form torchsnapshot forgets when it reads."""
    arrays = {
        "model/a%2Fb.weight": random_array((50, 16), "float32"),
        STATE.format("a", "a"): random_array((500,), "float32"),
        "optimizer/step": random_array((), "float32"),
    }
    write(tmp_path, arrays, step=7, name="x")
    text = (tmp_path / ".snapshot_metadata").read_text()
    assert SnapshotMetadata.from_yaml(text).to_yaml() == text


@pytest.mark.parametrize(
    ("key", "is_readable"),
    [("x" * 1014, True), ("x" * 1015, False), ("\uffff\x7f\0", True), ("\N{GRINNING FACE}", False), ("\ud800", False)],
    ids=["longest", "too long", "odd", "emoji", "surrogate"],
)
def test_the_limits_on_keys_are_torchsnapshot_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, is_readable: bool
) -> None:
    """Written without embsnap's check, exactly the keys that it refuses cannot be read."""
    monkeypatch.setattr("embsnap.formats.torchsnapshot.writer.check_contents", lambda arrays, values: None)
    write(tmp_path, {f"model/{key}": random_array((2, 2), "float32")})
    text = (tmp_path / ".snapshot_metadata").read_text()
    try:
        found = f"0/model/{key}" in SnapshotMetadata.from_yaml(text).manifest
    except Exception:  # whatever the YAML parser makes of it
        found = False
    assert found == is_readable

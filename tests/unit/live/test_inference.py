"""Served tables give what the trained ones give, to the precision that is promised; int8 rows lie as documented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("torchrec")

import torch.distributed as dist  # noqa: E402
from torchrec import KeyedJaggedTensor  # noqa: E402
from torchrec.fx import symbolic_trace  # noqa: E402

from embsnap.config.embedding import LargeEmbeddingsConfig, Mode  # noqa: E402
from embsnap.errors import ErrorKind, IncompatibleError, RefusedError, UsageError  # noqa: E402
from embsnap.live import inference  # noqa: E402
from embsnap.live.inference import Precision, for_inference  # noqa: E402
from embsnap.live.modules import LargeEmbeddings  # noqa: E402
from embsnap.live.restore import restore  # noqa: E402
from embsnap.live.sharding import shard_embeddings  # noqa: E402
from embsnap.testing.tables import write_arrays  # noqa: E402

ROWS = 40


def make(*tables: dict[str, Any]) -> LargeEmbeddings:
    config = LargeEmbeddingsConfig.model_validate({"tables": [{"num_embeddings": ROWS, **table} for table in tables]})
    model = LargeEmbeddings(config, mode=Mode.INFERENCE)
    generator = torch.Generator().manual_seed(0)
    for table in tables:
        weight = model.weight(table["name"])
        weight.copy_(torch.randn(weight.shape, generator=generator))
    return model


def batch(*names: str) -> KeyedJaggedTensor:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 4, size=len(names) * 6)
    values = rng.integers(0, ROWS, size=int(lengths.sum()))
    return KeyedJaggedTensor(
        keys=list(names), values=torch.from_numpy(values), lengths=torch.from_numpy(lengths.astype(np.int32))
    )


@pytest.fixture
def model() -> LargeEmbeddings:
    """Tables of two poolings and two dtypes, so that torchrec's own order is another one."""
    return make(
        {"name": "user", "embedding_dim": 8},
        {"name": "item", "embedding_dim": 12, "pooling": "mean", "data_type": "fp16"},
        {"name": "query", "embedding_dim": 4},
    )


def test_frozen_tables_are_the_trained_ones(model: LargeEmbeddings) -> None:
    served = for_inference(model)
    for name in ("user", "item", "query"):
        assert served.ebc.embedding_bags[name].weight.data_ptr() == model.weight(name).data_ptr()
    features = batch("user", "item", "query")
    assert torch.equal(served(features).values(), model(features).values())
    assert not any(parameter.requires_grad for parameter in served.parameters())
    assert not served.training


@pytest.mark.parametrize("precision", list(Precision))
def test_a_model_in_training_goes_on_training(precision: Precision) -> None:
    table = {"name": "user", "num_embeddings": ROWS, "embedding_dim": 4, "optimizer": {"sgd": {"lr": 0.5}}}
    model = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}))
    torch.nn.init.zeros_(model.weight("user"))
    calls: list[torch.nn.Module] = []
    model.surgery_cut_point.register_forward_hook(lambda module, inputs, output: calls.append(module))
    served = for_inference(model, precision)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    features = KeyedJaggedTensor(keys=["user"], values=torch.tensor([3]), lengths=torch.tensor([1]))
    assert served(features).values().tolist() == [[0] * 4]
    assert not calls
    model(features).values().sum().backward()
    assert model.weight("user")[3].tolist() == [-0.5] * 4
    assert not model.weight("user")[:3].any()
    after = served(features).values()
    assert after.tolist() == [[-0.5 if precision is Precision.FROZEN else 0] * 4]
    assert not after.requires_grad


def test_a_precision_may_be_said_as_text(model: LargeEmbeddings) -> None:
    assert for_inference(model, "frozen").precision is Precision.FROZEN
    assert for_inference(model, "int8").precision is Precision.INT8


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_blocks_and_dtypes_make_no_difference(monkeypatch: pytest.MonkeyPatch, precision: Precision) -> None:
    """A bf16 table becomes what its rows as float32 become, however many rows are quantised at a time."""
    table = {"name": "user", "embedding_dim": 8}
    half, full = make(table | {"data_type": "bf16"}), make(table)
    full.weight("user").copy_(half.weight("user"))
    expected = for_inference(full, precision).state_dict()["ebc.embedding_bags.user.weight"]
    monkeypatch.setattr(inference, "_BLOCK_ELEMENTS", 24)
    served = for_inference(half, precision)
    assert torch.equal(served.state_dict()["ebc.embedding_bags.user.weight"], expected)
    assert half.weight("user").dtype == torch.bfloat16
    features = batch("user")
    torch.testing.assert_close(served(features).values(), full(features).values(), atol=0.05, rtol=0)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_quantised_vectors_stay_within_the_rounding(model: LargeEmbeddings, precision: Precision) -> None:
    features = batch("user", "item", "query")
    expected = model(features)
    served = for_inference(model, precision)
    pooled = served(features)
    assert pooled.keys() == expected.keys() == ["user", "item", "query"]
    assert pooled.values().dtype == torch.float32
    for name in ("user", "item", "query"):
        rows = model.weight(name).float()
        spread = (rows.amax() - rows.amin()).item()
        step = spread / 255 * 0.75 if precision is Precision.INT8 else spread * 2**-11
        most = 1 if name == "item" else 3  # rows of a bag
        assert (pooled[name] - expected[name]).abs().max() <= most * step
        assert (pooled[name] - expected[name]).abs().max() > 0 or name == "item"
    assert isinstance(model.weight("user"), torch.nn.Parameter)


def test_the_cut_point_is_kept(model: LargeEmbeddings) -> None:
    served = for_inference(model, Precision.FP16)
    seen = []
    served.surgery_cut_point.register_forward_hook(lambda module, inputs, output: seen.append(output))
    pooled = served(batch("user", "item", "query"))
    assert seen == [pooled]
    assert "surgery_cut_point" in dict(served.named_modules())


@pytest.mark.parametrize("precision", Precision)
def test_it_can_be_traced(model: LargeEmbeddings, precision: Precision) -> None:
    served, features = for_inference(model, precision), batch("user", "item", "query")
    traced = symbolic_trace(served)
    assert traced(features).keys() == ["user", "item", "query"]
    assert torch.equal(traced(features).values(), served(features).values())


def unpacked(packed: NDArray[np.uint8], dim: int) -> NDArray[np.float32]:
    """Rows as the documentation describes them: scale and bias as fp16, then D bytes."""
    head = packed[:, :4].copy().view(np.float16).astype(np.float32)
    return packed[:, 4 : 4 + dim].astype(np.float32) * head[:, :1] + head[:, 1:]


def test_int8_rows_lie_as_documented() -> None:
    model = make({"name": "user", "embedding_dim": 8})
    served = for_inference(model, Precision.INT8)
    packed = served.state_dict()["ebc.embedding_bags.user.weight"].numpy()
    rows = model.weight("user").detach().numpy()
    lows, highs = rows.min(axis=1), rows.max(axis=1)
    head = packed[:, :4].copy().view(np.float16)
    np.testing.assert_array_equal(head[:, 1], lows.astype(np.float16))
    np.testing.assert_allclose(head[:, 0], (highs - lows) / 255, rtol=2e-3)
    error = np.abs(unpacked(packed, 8) - rows).max(axis=1)
    assert (error <= (highs - lows) / 255 * 0.75 + np.abs(lows) * 2**-11).all()
    features = KeyedJaggedTensor(keys=["user"], values=torch.arange(ROWS), lengths=torch.ones(ROWS, dtype=torch.int32))
    np.testing.assert_allclose(served(features)["user"].numpy(), unpacked(packed, 8), atol=1e-6)


def test_odd_dimensions_are_refused_for_int8() -> None:
    model = make({"name": "user", "embedding_dim": 5})
    with pytest.raises(IncompatibleError, match=r"table user.*even embedding_dim") as error:
        for_inference(model, Precision.INT8)
    assert error.value.kind is ErrorKind.SHAPE_MISMATCH
    features = batch("user")
    close = for_inference(model, Precision.FP16)(features).values() - model(features).values()
    assert close.abs().max() < 0.01


@pytest.mark.parametrize(
    ("precision", "row", "where", "found"),
    [
        (Precision.FP16, [0, 0, 1e5, 0], "table user, row 9, column 2", "100000"),
        (Precision.FP16, [0, -65520, 0, 0], "table user, row 9, column 1", "-65520"),
        (Precision.INT8, [1e5, 1e5, 1e5, 1e5], "table user, row 9", "100000"),
        (Precision.INT8, [-1e5, 1, 1, 1], "table user, row 9", "-100000"),
        (Precision.INT8, [0, 0, 0, 1e8], "table user, row 9", "1e+08"),
        (Precision.INT8, [0, float("nan"), 0, 0], "table user, row 9", "nan"),
        (Precision.INT8, [0, float("inf"), 0, 0], "table user, row 9", "inf"),
    ],
)
def test_what_is_too_large_is_refused(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, row: list[float], where: str, found: str
) -> None:
    monkeypatch.setattr(inference, "_BLOCK_ELEMENTS", 16)
    model = make({"name": "user", "embedding_dim": 4})
    model.weight("user")[9] = torch.tensor(row)
    with pytest.raises(IncompatibleError, match="65504") as error:
        for_inference(model, precision)
    assert (error.value.kind, error.value.where, error.value.found) == (ErrorKind.CAST_OVERFLOW, where, found)
    assert "frozen" in (error.value.hint or "")


@pytest.mark.parametrize(
    ("precision", "row"),
    [
        (Precision.FP16, [65504, -65504, 0, float("inf")]),
        (Precision.INT8, [1e6, -6e4, 0, 0]),
        (Precision.INT8, [6e4] * 4),
    ],
)
def test_what_just_fits_is_served(precision: Precision, row: list[float]) -> None:
    model = make({"name": "user", "embedding_dim": 4})
    model.weight("user")[9] = torch.tensor(row)
    features = KeyedJaggedTensor(keys=["user"], values=torch.tensor([9]), lengths=torch.tensor([1]))
    pooled = for_inference(model, precision)(features).values()[0]
    torch.testing.assert_close(pooled, torch.tensor(row), atol=(max(row) - min(row)) / 255, rtol=1e-3)


@pytest.mark.parametrize("precision", list(Precision))
def test_the_meta_device_is_refused(precision: Precision) -> None:
    table = {"name": "user", "num_embeddings": ROWS, "embedding_dim": 4}
    model = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}), device="meta")
    with pytest.raises(UsageError, match=r"(?s)table user.*found a meta tensor.*embsnap.warm_start") as error:
        for_inference(model, precision)
    assert error.value.kind is ErrorKind.BAD_OPTION


def test_other_modules_are_refused_and_told_what_is_in_them(model: LargeEmbeddings) -> None:
    wrapped = torch.nn.Sequential(torch.nn.ModuleDict({"tower": model}))
    with pytest.raises(UsageError, match=r"found Sequential, with a LargeEmbeddings at 0\.tower") as error:
        for_inference(wrapped)
    assert error.value.kind is ErrorKind.BAD_OPTION
    assert error.value.hint == 'for_inference(model.get_submodule("0.tower"))'
    assert for_inference(wrapped.get_submodule("0.tower")).precision is Precision.FROZEN
    with pytest.raises(UsageError, match=r"found Linear\)"):
        for_inference(torch.nn.Linear(2, 2))


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_sharded_models_are_refused() -> None:
    table = {"name": "user", "num_embeddings": ROWS, "embedding_dim": 4}
    embeddings = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}), device="meta")
    sharded = shard_embeddings(embeddings, device="cpu")
    for model in (sharded, embeddings):
        with pytest.raises(UsageError, match=r"(?s)is sharded.*embsnap\.save.*embsnap\.restore") as error:
            for_inference(model, Precision.INT8)
        assert (error.value.kind, error.value.found) == (ErrorKind.BAD_OPTION, type(model).__name__)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", list(Precision))
def test_a_gpu_serves_what_the_cpu_does(model: LargeEmbeddings, precision: Precision) -> None:
    features = batch("user", "item", "query")
    expected = for_inference(model, precision)(features).values()
    served = for_inference(model.cuda(), precision)
    torch.testing.assert_close(served(features.to(torch.device("cuda"))).values().cpu(), expected, atol=1e-3, rtol=1e-3)


def test_half_filled_tables_are_not_served(tmp_path) -> None:
    write_arrays(f"{tmp_path}/bad", {"user": np.full((8, 4), 1e6, np.float32)})
    table = {"name": "user", "num_embeddings": 8, "embedding_dim": 4, "data_type": "fp16"}
    model = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}))
    with pytest.raises(IncompatibleError):
        restore(model, f"{tmp_path}/bad", cast=True)
    with pytest.raises(RefusedError, match="table user") as caught:
        for_inference(model)
    assert caught.value.kind is ErrorKind.HALF_FILLED

"""Served tables give what the trained ones give, to the precision that is promised; int8 rows lie as documented."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("torchrec")

from torchrec import KeyedJaggedTensor  # noqa: E402

from embsnap.config.embedding import LargeEmbeddingsConfig, Mode  # noqa: E402
from embsnap.errors import ErrorKind, IncompatibleError  # noqa: E402
from embsnap.live.inference import Precision, for_inference  # noqa: E402
from embsnap.live.modules import LargeEmbeddings  # noqa: E402

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
    assert served.ebc is model.ebc
    features = batch("user", "item", "query")
    assert torch.equal(served(features).values(), model(features).values())
    assert not any(parameter.requires_grad for parameter in served.parameters())
    assert not served.training


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


@pytest.mark.gpu
@pytest.mark.parametrize("precision", list(Precision))
def test_a_gpu_serves_what_the_cpu_does(model: LargeEmbeddings, precision: Precision) -> None:
    features = batch("user", "item", "query")
    expected = for_inference(model, precision)(features).values()
    served = for_inference(model.cuda(), precision)
    torch.testing.assert_close(served(features.to(torch.device("cuda"))).values().cpu(), expected, atol=1e-3, rtol=1e-3)

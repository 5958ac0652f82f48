"""Optimizers that are fused into the backward pass, against their formulas; their state and their schedules."""

from __future__ import annotations

import pytest
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from torchsnapshot import Snapshot

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.optimizer import OptimizerConfig
from embsnap.live.modules import LargeEmbeddings
from embsnap.live.optimizers import fuse_optimizer

KEY = "ebc.embedding_bags.user.weight"
LR = 0.5
OPTIMIZERS = {
    "sgd": {"lr": LR},
    "momentum": {"lr": LR, "momentum": 0.9},
    "adagrad": {"lr": LR, "eps": 0.0},
    "rowwise_adagrad": {"lr": LR, "eps": 1e-8},
    "adam": {"lr": LR, "eps": 0.0},
}
STATES = {
    "sgd": {},
    "momentum": {"momentum_buffer": (6, 3)},
    "adagrad": {"sum": (6, 3), "step": ()},
    "rowwise_adagrad": {"sum": (6, 1), "step": ()},
    "adam": {"exp_avg": (6, 3), "exp_avg_sq": (6, 3), "step": ()},
}


def embeddings_with(name: str, learning_rate: dict | None = None, data_type: str = "fp32") -> LargeEmbeddings:
    optimizer = {"sgd" if name == "momentum" else name: OPTIMIZERS[name], "learning_rate": learning_rate}
    table = {"name": "user", "num_embeddings": 6, "embedding_dim": 3, "optimizer": optimizer, "data_type": data_type}
    embeddings = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}))
    with torch.no_grad():
        embeddings.weight("user").copy_(torch.arange(18).reshape(6, 3) / 10)
    return embeddings


def backward(embeddings: LargeEmbeddings, rows: list[int], gradient: list[float]) -> None:
    """One backward pass in which each of `rows` gets `gradient`."""
    features = KeyedJaggedTensor(keys=["user"], values=torch.tensor(rows), lengths=torch.ones(len(rows), dtype=int))
    (embeddings(features)["user"] * torch.tensor(gradient)).sum().backward()


def update_by_hand(name: str, gradient: torch.Tensor) -> torch.Tensor:
    """What the first update subtracts from a row with this gradient."""
    if name in ("sgd", "momentum"):
        return LR * gradient
    if name == "rowwise_adagrad":
        return LR * gradient / gradient.pow(2).mean().sqrt()
    return LR * gradient.sign()  # the first step of Adagrad and of Adam divides each gradient by itself


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_backward_pass_updates_the_rows_it_reached(name: str) -> None:
    embeddings = embeddings_with(name)
    before = embeddings.weight("user").detach().clone()
    gradient = [1.0, -2.0, 0.25]
    backward(embeddings, [1, 4], gradient)
    weight = embeddings.weight("user")
    assert weight.grad is None
    expected = before.clone()
    expected[[1, 4]] -= update_by_hand(name, torch.tensor(gradient))
    torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_exists_before_the_first_step_and_is_zero(name: str) -> None:
    states = embeddings_with(name).fused_optimizer().states()[KEY]
    assert {state: tuple(tensor.shape) for state, tensor in states.items()} == STATES[name]
    assert all(not tensor.any() for tensor in states.values())


@pytest.mark.parametrize("data_type", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ["adagrad", "adam", "rowwise_adagrad"])
def test_rows_without_a_gradient_stay_finite_in_low_precision(name: str, data_type: str) -> None:
    embeddings = embeddings_with(name, data_type=data_type)
    before = embeddings.weight("user").detach().clone()
    backward(embeddings, [0], [1.0, 0.0, 1.0])
    assert embeddings.weight("user").isfinite().all()
    assert torch.equal(embeddings.weight("user")[1:], before[1:])


def test_filled_state_decides_the_next_update() -> None:
    embeddings = embeddings_with("rowwise_adagrad")
    before = embeddings.weight("user").detach().clone()
    embeddings.fused_optimizer().states()[KEY]["sum"].fill_(24.0)
    backward(embeddings, [2], [1.0, 1.0, 1.0])
    torch.testing.assert_close(embeddings.weight("user")[2], before[2] - LR / 5)


def test_the_schedule_sets_the_learning_rate() -> None:
    ramp = {"linear_ramp_to_constant": {"learning_rate": 1.0, "num_ramp_steps": 4}}
    embeddings = embeddings_with("sgd", learning_rate=ramp)
    optimizer = embeddings.fused_optimizer()
    assert optimizer.learning_rates() == {KEY: LR}
    optimizer.set_step(1)
    assert optimizer.learning_rates() == {KEY: 0.25}
    before = embeddings.weight("user").detach().clone()
    backward(embeddings, [3], [1.0, 1.0, 1.0])
    torch.testing.assert_close(embeddings.weight("user")[3], before[3] - 0.25)


def test_without_a_schedule_the_learning_rate_stays() -> None:
    optimizer = embeddings_with("sgd").fused_optimizer()
    optimizer.set_step(1_000)
    assert optimizer.learning_rates() == {KEY: LR}


def test_the_common_optimizer_is_sgd() -> None:
    config = {
        "tables": [{"name": "user", "num_embeddings": 6, "embedding_dim": 3}],
        "optimizer": {"init_learning_rate": 0.1, "learning_rate": {"constant": 0.2}},
    }
    embeddings = LargeEmbeddings(LargeEmbeddingsConfig.model_validate(config))
    optimizer = embeddings.fused_optimizer()
    assert optimizer.learning_rates() == {KEY: 0.1}
    optimizer.set_step(0)
    assert optimizer.learning_rates() == {KEY: 0.2}


def test_a_table_without_an_optimizer_keeps_its_gradient() -> None:
    table = {"name": "user", "num_embeddings": 6, "embedding_dim": 3}
    embeddings = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}))
    backward(embeddings, [2], [1.0, 2.0, 3.0])
    gradient = embeddings.weight("user").grad
    assert gradient is not None
    assert gradient[2].tolist() == [1.0, 2.0, 3.0]
    assert embeddings.fused_optimizer().states() == {}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torchsnapshot_takes_and_restores_the_state(name: str, tmp_path) -> None:
    trained, fresh = embeddings_with(name), embeddings_with(name)
    backward(trained, [1, 4], [1.0, -2.0, 0.25])
    Snapshot.take(str(tmp_path / "s"), {"model": trained, "optimizer": trained.fused_optimizer()})
    Snapshot(str(tmp_path / "s")).restore({"model": fresh, "optimizer": fresh.fused_optimizer()})
    backward(trained, [1, 2], [0.5, 0.5, 0.5])
    backward(fresh, [1, 2], [0.5, 0.5, 0.5])
    assert torch.equal(trained.weight("user"), fresh.weight("user"))


def test_torchrec_is_given_adams_betas_by_the_names_that_its_kernels_have() -> None:
    parameter = torch.nn.Parameter(torch.empty((4, 2), device="meta"))
    fuse_optimizer(parameter, OptimizerConfig.model_validate({"adam": {"lr": 0.1, "betas": [0.8, 0.9]}}))
    (arguments,) = parameter._optimizer_kwargs
    assert (arguments["beta1"], arguments["beta2"], "betas" in arguments) == (0.8, 0.9, False)

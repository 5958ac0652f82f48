"""Optimizers of torch that make a table's state in their first step go on from a snapshot before it, and start anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.optim.apply_optimizer_in_backward import (
    _apply_optimizer_in_backward as apply_optimizer_in_backward,
)
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.optim.keyed import KeyedOptimizerWrapper

import embsnap
from embsnap.errors import ErrorKind, IncompatibleError

ROWS, DIM = 12, 4
OPTIMIZERS = {
    torch.optim.Adam: {"lr": 0.1},
    torch.optim.SGD: {"lr": 0.1, "momentum": 0.9},
    torch.optim.NAdam: {"lr": 0.1},
    torch.optim.ASGD: {"lr": 0.1, "lambd": 0.3},
    torch.optim.Rprop: {"lr": 0.1},
}
Step = Callable[[], None]


def collection() -> EmbeddingBagCollection:
    table = EmbeddingBagConfig(name="user", num_embeddings=ROWS, embedding_dim=DIM, feature_names=["user"])
    return EmbeddingBagCollection(tables=[table], device=torch.device("cpu"))


def keyed(model: EmbeddingBagCollection, kind: type[torch.optim.Optimizer]) -> KeyedOptimizerWrapper:
    return KeyedOptimizerWrapper(dict(model.named_parameters()), lambda params: kind(params, **OPTIMIZERS[kind]))


def train(model: EmbeddingBagCollection, optimizer: torch.optim.Optimizer | None, steps: range) -> None:
    """Each step with gradients of its own; without an optimizer the backward pass steps."""
    for step in steps:
        ids = torch.arange(ROWS)[step % 3 :]
        pooled = model(KeyedJaggedTensor(keys=["user"], values=ids, lengths=torch.ones(len(ids), dtype=torch.int64)))
        ((pooled.values() - step) ** 2).sum().backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("is_fused", [False, True], ids=["keyed", "in the backward pass"])
@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_training_goes_on(tmp_path: Path, kind: type[torch.optim.Optimizer], is_fused: bool) -> None:
    trained, fresh = collection(), collection()
    optimizer = keyed(trained, kind)
    train(trained, optimizer, range(4))
    embsnap.save({"model": trained, "optimizer": optimizer}, tmp_path / "saved")
    if is_fused:
        apply_optimizer_in_backward(kind, fresh.parameters(), OPTIMIZERS[kind])
    going_on = None if is_fused else keyed(fresh, kind)
    result = embsnap.restore(fresh, tmp_path / "saved", optimizer=going_on)
    assert result.notes == ()
    train(trained, optimizer, range(4, 7))
    train(fresh, going_on, range(4, 7))
    assert torch.equal(trained.embedding_bags["user"].weight, fresh.embedding_bags["user"].weight)


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_training_starts_anew(tmp_path: Path, kind: type[torch.optim.Optimizer]) -> None:
    """As that of an optimizer that has taken no step, whatever this one has."""
    trained, anew = collection(), collection()
    optimizer = keyed(trained, kind)
    train(trained, optimizer, range(4))
    embsnap.save({"model": trained, "optimizer": optimizer}, tmp_path / "saved")
    embsnap.restore(trained, tmp_path / "saved", optimizer=optimizer, optimizer_state="reset")
    embsnap.restore(anew, tmp_path / "saved")
    train(trained, optimizer, range(4, 7))
    train(anew, keyed(anew, kind), range(4, 7))
    torch.testing.assert_close(trained.embedding_bags["user"].weight, anew.embedding_bags["user"].weight)


def test_a_refused_snapshot_leaves_an_optimizer_to_its_first_step(tmp_path: Path) -> None:
    other, model, plain = collection(), collection(), collection()
    adam, nadam = keyed(other, torch.optim.Adam), keyed(model, torch.optim.NAdam)
    train(other, adam, range(1))
    embsnap.save({"model": other, "optimizer": adam}, tmp_path / "saved")
    with pytest.raises(IncompatibleError) as caught:
        embsnap.restore(model, tmp_path / "saved", optimizer=nadam)
    assert caught.value.kind is ErrorKind.STATE_MISMATCH
    plain.load_state_dict(model.state_dict())
    train(model, nadam, range(3))
    train(plain, keyed(plain, torch.optim.NAdam), range(3))
    assert torch.equal(model.embedding_bags["user"].weight, plain.embedding_bags["user"].weight)

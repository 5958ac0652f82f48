"""The demo's model, after TwHIN: a user, moved by what he does, should lie close to the post he does it to.

Shape suffixes: B examples of a batch, D embedding_dim, R relations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizerWrapper
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.live.demo_data import TABLES, DayRows
from embsnap.live.demo_graph import RELATIONS
from embsnap.live.modules import LargeEmbeddings

__all__ = ["InteractionModel", "Relations", "bag", "fill_uniform", "train"]

_RELATIONS_LR = 0.05


class Relations(nn.Module):
    """One translation per relation."""

    def __init__(self, dim: int) -> None:
        """Start from no translation at all."""
        super().__init__()
        self.translations = nn.Parameter(torch.zeros(len(RELATIONS), dim))

    def forward(self, relations_B: Tensor) -> Tensor:
        """The translation of each example, `[B, D]`."""
        return self.translations[relations_B]


class InteractionModel(nn.Module):
    """Users and posts in one space; the other posts of a batch serve as negatives."""

    def __init__(self, config: LargeEmbeddingsConfig) -> None:
        """Build the model; the tables' rows are uninitialised."""
        super().__init__()
        self.embeddings = LargeEmbeddings(config)
        self.relations = Relations(config.tables[0].embedding_dim)
        self.tables_optimizer = self.embeddings.fused_optimizer()
        self.optimizer = CombinedOptimizer(
            [("fused_opt", self.tables_optimizer), ("dense_opt", _dense_optimizer(self.relations))]
        )

    def forward(self, features: KeyedJaggedTensor, relations_B: Tensor) -> Tensor:
        """The mean cross entropy of picking each example's own post out of all posts of the batch, a scalar."""
        pooled = self.embeddings(features)
        moved_users_BD = pooled["user"] + self.relations(relations_B)
        logits_BB = moved_users_BD @ pooled["post"].T
        return nn.functional.cross_entropy(logits_BB, torch.arange(len(logits_BB)))

    def app_state(self, **more: Any) -> dict[str, Any]:
        """What torchsnapshot takes: the tables, the rest of the model, and the state of both their optimizers."""
        return {"model": self.embeddings, "relations": self.relations, "optimizer": self.optimizer, **more}


def _dense_optimizer(module: nn.Module) -> KeyedOptimizerWrapper:
    return KeyedOptimizerWrapper(
        dict(module.named_parameters()), lambda parameters: torch.optim.Adagrad(parameters, lr=_RELATIONS_LR)
    )


def fill_uniform(embeddings: LargeEmbeddings, seed: int) -> None:
    """Fill all tables as torchrec does by default: uniform over ±1/√num_embeddings."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in TABLES:
            weight = embeddings.weight(table)
            bound = weight.shape[0] ** -0.5
            weight.uniform_(-bound, bound, generator=generator)


def bag(
    rows: dict[str, np.ndarray[Any, Any]], lengths: dict[str, np.ndarray[Any, Any]] | None = None
) -> KeyedJaggedTensor:
    """A KeyedJaggedTensor of one feature per table.

    Args:
        rows: Table → rows of all its bags, one after the other.
        lengths: Table → rows in each bag; one row each if None.
    """
    lengths = lengths or {table: np.ones(len(values), np.int64) for table, values in rows.items()}
    return KeyedJaggedTensor(
        keys=list(rows),
        values=torch.from_numpy(np.concatenate([rows[table] for table in rows])),
        lengths=torch.from_numpy(np.concatenate([lengths[table] for table in rows])),
    )


def train(
    model: InteractionModel, day: DayRows, batches: Iterable[slice], on_step: Callable[[], None]
) -> tuple[float, ...]:
    """Train on the given batches of a day; returns the loss of each step, before its update."""
    losses: list[float] = []
    with _one_thread():
        for batch in batches:
            features = bag({"user": day.users_E[batch], "post": day.posts_E[batch]})
            loss = model(features, torch.from_numpy(day.relations_E[batch]))
            model.optimizer.zero_grad()
            loss.backward()
            model.optimizer.step()
            losses.append(loss.item())
            on_step()
    return tuple(losses)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: steps are short, and on busy cores its threads wait for each other ten times longer."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)

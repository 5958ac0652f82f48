"""torchsnapshot 0.1.0 restores what a migration made of its own snapshots, into real EmbeddingBagCollections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
from torchrec.modules.embedding_configs import DataType
from torchsnapshot import Snapshot, StateDict

import embsnap
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.vocabularies import make_vocabulary

DIM = 8
NEW_IDS = [4, 40, 2, 9]


class Model(nn.Module):
    """Tables and a dense layer."""

    def __init__(self, **tables: tuple[int, int, DataType]) -> None:
        super().__init__()
        self.ebc = EmbeddingBagCollection(
            tables=[
                EmbeddingBagConfig(
                    name=name, num_embeddings=rows, embedding_dim=dim, feature_names=[name], data_type=data_type
                )
                for name, (rows, dim, data_type) in tables.items()
            ]
        )
        self.dense = nn.Linear(4, 3)

    def rows(self, name: str) -> np.ndarray:
        """The rows of a table, as fp32."""
        return self.ebc.embedding_bags[name].weight.detach().float().numpy()


def fp32(rows: int, dim: int = DIM) -> tuple[int, int, DataType]:
    return rows, dim, DataType.FP32


@pytest.fixture
def taken(tmp_path: Path) -> Model:
    """A snapshot of two tables, a dense layer, an optimizer of it, and a pickle, taken by torchsnapshot."""
    torch.manual_seed(0)
    model = Model(user=fp32(10), item=fp32(6))
    optimizer = torch.optim.Adagrad(model.dense.parameters())
    extra = StateDict(step=7, pickled={1, 2})
    Snapshot.take(str(tmp_path / "source"), {"model": model, "optimizer": optimizer, "extra_state": extra})
    write_vocabulary(make_vocabulary(list(range(10))), str(tmp_path / "old.parquet"))
    write_vocabulary(make_vocabulary(NEW_IDS), str(tmp_path / "new.parquet"))
    write_vocabulary(make_vocabulary([20, 21, 22, 23, 24, 25]), str(tmp_path / "item.parquet"))
    return model


Steps = Callable[[Any, Path], Any]
CASES: dict[str, tuple[Steps, dict[str, tuple[int, int, DataType]]]] = {
    "rename": (lambda m, _: m.rename({"user": "member"}), {"member": fp32(10), "item": fp32(6)}),
    "revocab": (
        lambda m, root: m.vocab("user", f"{root}/old.parquet").revocab(
            "user", f"{root}/new.parquet", initializer="zeros"
        ),
        {"user": fp32(4), "item": fp32(6)},
    ),
    "resize": (lambda m, _: m.resize("user", 13, initializer="zeros"), {"user": fp32(13), "item": fp32(6)}),
    "cast": (lambda m, _: m.cast("user", "fp16"), {"user": (10, DIM, DataType.FP16), "item": fp32(6)}),
    "dim": (lambda m, _: m.dim("user", 4, by="truncate"), {"user": fp32(10, 4), "item": fp32(6)}),
    "merge": (
        lambda m, root: (
            m.vocab("user", f"{root}/old.parquet").vocab("item", f"{root}/item.parquet").merge(["user", "item"], "all")
        ),
        {"all": fp32(16)},
    ),
    "shard": (lambda m, _: m.shard(world_size=4, placing="row-wise"), {"user": fp32(10), "item": fp32(6)}),
    "columns": (lambda m, _: m.shard(world_size=2, placing="column-wise"), {"user": fp32(10), "item": fp32(6)}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_migrated_snapshot_restores(case: str, taken: Model, tmp_path: Path) -> None:
    steps, tables = CASES[case]
    steps(embsnap.migration(str(tmp_path / "source")), tmp_path).write(str(tmp_path / "out"))
    model = Model(**tables)
    optimizer = torch.optim.Adagrad(model.dense.parameters())
    extra = StateDict(step=-1, pickled=None)
    Snapshot(str(tmp_path / "out")).restore({"model": model, "optimizer": optimizer, "extra_state": extra})
    assert extra["step"] == 7
    assert extra["pickled"] == {1, 2}
    assert torch.equal(model.dense.weight, taken.dense.weight)
    for name, expected in _expected(case, taken).items():
        np.testing.assert_array_equal(model.rows(name), expected)


def _expected(case: str, taken: Model) -> dict[str, np.ndarray]:
    user, item = taken.rows("user"), taken.rows("item")
    moved = np.stack([user[entity] if entity < 10 else np.zeros(DIM, np.float32) for entity in NEW_IDS])
    return {
        "rename": {"member": user, "item": item},
        "revocab": {"user": moved, "item": item},
        "resize": {"user": np.vstack([user, np.zeros((3, DIM), np.float32)]), "item": item},
        "cast": {"user": user.astype(np.float16).astype(np.float32), "item": item},
        "dim": {"user": user[:, :4], "item": item},
        "merge": {"all": np.vstack([user, item])},
        "shard": {"user": user, "item": item},
        "columns": {"user": user, "item": item},
    }[case]

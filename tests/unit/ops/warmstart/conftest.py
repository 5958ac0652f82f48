"""Two days of one table, in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.warmstart.plan import WarmstartOptions, plan_warmstart, write_warmstart
from embsnap.ops.warmstart.result import WarmstartResult
from embsnap.ops.warmstart.state import OptimizerStateForm
from embsnap.storage.uri import open_store
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary

_numbers = itertools.count()


@dataclass
class Days:
    """Day one: a snapshot and its vocabulary. Day two: a vocabulary and a config."""

    root: str = field(default_factory=lambda: f"memory://days{next(_numbers)}")
    table: dict[str, Any] = field(default_factory=dict)
    """Fields of the new table that replace the usual ones; None leaves one out."""
    pretrained: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def old(self, rows: np.ndarray, ids: Sequence[Any], old_rows: Sequence[int] | None = None, **state: Any) -> None:
        write_arrays(f"{self.root}/old", {"user": rows}, state)  # state by logical path
        write_vocabulary(make_vocabulary(ids, old_rows), f"{self.root}/old.parquet")
        self.dim = rows.shape[1]

    def new(self, ids: Sequence[Any], new_rows: Sequence[int] | None = None, **columns: Any) -> None:
        write_vocabulary(make_vocabulary(ids, new_rows, **columns), f"{self.root}/new.parquet")

    def new_again(self, ids: Sequence[Any], name: str = "newer.parquet") -> None:
        """Another new vocabulary in the place of the first; under an old name it replaces that file."""
        open_store(self.root).delete(name)
        write_vocabulary(make_vocabulary(ids), f"{self.root}/{name}")
        self.table = self.table | {"vocab": f"{self.root}/{name}"}

    def parsed(self, num_embeddings: int) -> LargeEmbeddingsConfig:
        pretrained = {
            "emb_name": "user",
            "embedding_snapshot_uri": f"{self.root}/old",
            "vocab": f"{self.root}/old.parquet",
        } | self.pretrained
        table = {
            "name": "user",
            "num_embeddings": num_embeddings,
            "embedding_dim": self.dim,
            "vocab": f"{self.root}/new.parquet",
            "pretrained": {key: value for key, value in pretrained.items() if value is not None},
        } | self.table
        tables = [{key: value for key, value in table.items() if value is not None}]
        return LargeEmbeddingsConfig.model_validate({"tables": tables} | self.config)

    def plan(self, num_embeddings: int, **options: Any) -> WarmstartResult:
        return plan_warmstart(self.parsed(num_embeddings), WarmstartOptions(**options)).result()

    def run_to(self, num_embeddings: int, out: str, **options: Any) -> tuple[WarmstartResult, Snapshot]:
        options = {name: OptimizerStateForm(v) if name == "optimizer_state" else v for name, v in options.items()}
        result = write_warmstart(plan_warmstart(self.parsed(num_embeddings), WarmstartOptions(**options)), out)
        return result, open_snapshot(out)

    def run(self, num_embeddings: int, **options: Any) -> tuple[WarmstartResult, Snapshot]:
        return self.run_to(num_embeddings, f"{self.root}/out{next(_numbers)}", **options)

    def rows(self, num_embeddings: int, **options: Any) -> np.ndarray:
        return read_array(self.run(num_embeddings, **options)[1], "user")


@pytest.fixture
def days() -> Days:
    """Ready for `old`, `new` and `run`."""
    return Days()


@pytest.fixture(scope="session")
def new_days() -> Callable[[], Days]:
    """Makes further pairs of days."""
    return Days


@pytest.fixture
def make_rows() -> Callable[..., np.ndarray]:
    """Random rows, no two alike."""

    def make(num_rows: int, dim: int, dtype: Any = np.float32) -> np.ndarray:
        return np.random.default_rng(num_rows * dim).standard_normal((num_rows, dim)).astype(dtype)

    return make

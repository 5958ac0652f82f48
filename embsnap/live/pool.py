"""Pooled lookups of real examples: entity ids through the vocabularies and an EmbeddingBagCollection.

Shape suffixes: B bags of a batch, N ids in hand, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic, perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from embsnap.formats.pooled_files import PooledWriter, pooled_writer
from embsnap.live.lookup import weighing
from embsnap.live.pool_model import PoolModel
from embsnap.live.pool_plan import PoolPlan, row_bytes
from embsnap.model.pooling import PooledTable, PoolReport
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.pool.examples import Batch
from embsnap.ops.pool.figures import ChangeFigures, TableFigures, in_stratum, stratum_figures
from embsnap.ops.pool.rows import RowBags, rows_of

__all__ = ["pool"]

_TASK = "pooling"


def pool(plan: PoolPlan, *, progress: Progress = SILENT) -> PoolReport:
    """Fill the model, pool every example, and write the vectors.

    Raises:
        EmbsnapError: As `warm_start`; or a file of examples cannot be read, or the storage failed.
    """
    is_weighted = bool(plan.examples.columns.weights)
    model = plan.tables.fill(device=plan.device, is_weighted=is_weighted, progress=progress)
    other = None
    if plan.compared is not None:
        other = plan.compared.fill(device=plan.device, is_weighted=is_weighted, progress=progress)
    began = monotonic()
    run = _Run(plan, model, other)
    progress.start(_TASK, plan.num_examples, "examples")
    with ExitStack() as stack:
        writer = None
        if plan.out is not None:
            dims = {table.name: table.embedding_dim for table in model.tables.config.tables}
            storage = plan.options.model.storage_options
            writer = stack.enter_context(pooled_writer(plan.out, plan.examples.kept_types, dims, storage))
        for batch in plan.examples.batches(plan.options.batch_size, plan.options.limit):
            run.add(batch, writer)
            progress.advance(_TASK, batch.num_examples)
    progress.finish(_TASK)
    return run.report(monotonic() - began)


class _Run:
    """The batches of one run."""

    def __init__(self, plan: PoolPlan, model: PoolModel, other: PoolModel | None) -> None:
        self._plan, self._model, self._other = plan, model, other
        configs = model.tables.config.tables
        self._figures = {table.name: TableFigures(table.num_embeddings) for table in configs}
        self._changes = {} if other is None else {table.name: ChangeFigures() for table in configs}
        self._strata = stratum_figures(plan.options.strata, {table.name: table.embedding_dim for table in configs})
        self._num_examples = 0
        self._lookup_seconds = 0.0

    def add(self, batch: Batch, writer: PooledWriter | None) -> None:
        """Pool a batch, count it, and write it."""
        bags = self._rows(self._model, batch)
        began = perf_counter()
        pooled = _pooled(self._model, bags, self._plan.device)
        self._lookup_seconds += perf_counter() - began
        self._num_examples += batch.num_examples
        for name, vectors_BD in pooled.items():
            self._figures[name].add(bags[name], len(batch.features[name].ids), vectors_BD)
        self._add_strata(batch, pooled)
        if self._other is not None:
            self._add_change(self._other, batch, bags, pooled)
        if writer is not None:
            writer.write(batch.kept, list(pooled.values()))

    def report(self, seconds: float) -> PoolReport:
        """What came of it."""
        tables = tuple(self._table(name) for name in self._figures)
        num_bytes = sum(
            figures.num_rows * row_bytes(self._model.tables, name) for name, figures in self._figures.items()
        )

        def per_second(amount: int) -> float | None:
            return amount / self._lookup_seconds if self._lookup_seconds else None

        return replace(
            self._plan.report(),
            applied=True,
            num_examples=self._num_examples,
            tables=tables,
            strata=tuple(found.result() for found in self._strata),
            lookup_seconds=self._lookup_seconds,
            seconds=seconds,
            bags_per_s=per_second(sum(table.num_bags for table in tables)),
            ids_per_s=per_second(sum(figures.num_rows for figures in self._figures.values())),
            row_bytes_per_s=per_second(num_bytes),
        )

    def _rows(self, model: PoolModel, batch: Batch) -> dict[str, RowBags]:
        options = self._plan.options
        return {
            name: rows_of(bags, model.indexes[name], options.unknown, threads=options.model.threads)
            for name, bags in batch.features.items()
        }

    def _add_strata(self, batch: Batch, pooled: Mapping[str, NDArray[np.float32]]) -> None:
        for stratifier in self._plan.options.strata:
            inside_B = in_stratum(stratifier, batch.discrete)
            for figures in self._strata:
                if figures.stratum == stratifier.name:
                    figures.add(pooled[figures.table][inside_B])

    def _add_change(
        self,
        other: PoolModel,
        batch: Batch,
        bags: Mapping[str, RowBags],
        pooled: Mapping[str, NDArray[np.float32]],
    ) -> None:
        other_bags = self._rows(other, batch)
        other_pooled = _pooled(other, other_bags, self._plan.device)
        for name, vectors_BD in pooled.items():
            unknown_B = bags[name].num_unknown_B + other_bags[name].num_unknown_B
            carried_B = (unknown_B == 0) & (batch.features[name].lengths_B > 0)
            self._changes[name].add(carried_B, vectors_BD, other_pooled[name])

    def _table(self, name: str) -> PooledTable:
        figures, tables = self._figures[name], self._model.tables
        config = next(table for table in tables.config.tables if table.name == name)
        num_bags = max(1, figures.num_bags)
        return PooledTable(
            name=name,
            column=self._plan.examples.columns.features[name],
            num_embeddings=config.num_embeddings,
            embedding_dim=config.embedding_dim,
            dtype=tables.dtypes[name].name,
            pooling=config.pooling.value,
            num_bags=figures.num_bags,
            num_ids=figures.num_ids,
            num_unknown=figures.num_unknown,
            oov_rate=figures.num_unknown / figures.num_ids if figures.num_ids else None,
            num_empty_bags=figures.num_empty_bags,
            pooling_factor=figures.num_rows / num_bags,
            max_bag=figures.max_bag,
            mean_norm=figures.norm_sum / num_bags,
            access=figures.access(),
            change=self._changes[name].result() if name in self._changes else None,
        )


def _pooled(model: PoolModel, bags: Mapping[str, RowBags], device: str) -> dict[str, NDArray[np.float32]]:
    """`float32[B, D]` by table; bags go to the device and vectors come back."""
    weights = None
    if any(found.weights_N is not None for found in bags.values()):
        weights = torch.from_numpy(np.concatenate([_weights(found) for found in bags.values()])).to(device)
    lengths = np.concatenate([found.lengths_B for found in bags.values()])
    features = KeyedJaggedTensor(
        keys=list(bags),
        values=torch.from_numpy(np.concatenate([found.rows_N for found in bags.values()])).to(device),
        lengths=torch.from_numpy(lengths.astype(np.int32)).to(device),
        weights=weights,
    )
    with torch.no_grad(), weighing(model.module):
        pooled = model.module(features).to_dict()
    return {name: pooled[name].float().cpu().numpy() for name in bags}


def _weights(bags: RowBags) -> NDArray[np.float32]:
    return np.ones(len(bags.rows_N), np.float32) if bags.weights_N is None else bags.weights_N

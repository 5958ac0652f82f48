"""A pooled lookup through a live EmbeddingBagCollection, compared with the rows it should have pooled.

Shape suffixes: B bags, D embedding_dim, N rows in hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchrec import EmbeddingBagCollection, KeyedJaggedTensor
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.modules.embedding_configs import EmbeddingBagConfig as TorchrecTable
from torchrec.modules.embedding_configs import PoolingType
from torchrec.modules.embedding_modules import get_embedding_names_by_table

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.threads import run
from embsnap.model.rows import RowSource
from embsnap.ops.warmstart.casting import largest
from embsnap.ops.warmstart.result import Lookup

__all__ = ["check_lookup", "weighing"]

NUM_BAGS = 32
_BAG_LENGTHS = (1, 0, 2, 5)
"""Repeated over the bags; the second is empty on purpose."""


def check_lookup(
    collection: EmbeddingBagCollection | ShardedEmbeddingBagCollection,
    sources: Mapping[str, RowSource],
    *,
    threads: int = 1,
) -> tuple[Lookup, ...]:
    """Pool bags of rows spread over each table and compare with the same rows read from their sources.

    Of a table that shares its features with a smaller one, the rows that both have are pooled. Hooks on the collection
    do not run.

    Args:
        collection: Holds the tables. Of one that is sharded, every rank calls this, and each checks a batch of its own.
        sources: Where each of its tables' rows came from, by table name.
        threads: How many rows are read at once; they lie far apart, maybe at the other end of a network.

    Returns:
        What was looked up: nothing of a collection that weighs means, which torch cannot.

    Raises:
        IncompatibleError: `lookup-mismatch`: the module pools something else.
    """
    if _weighs_means(collection):
        return ()
    lengths_B = np.resize(np.array(_BAG_LENGTHS), NUM_BAGS)
    asked = [probe for probe in _probes(_configs(collection)) if probe.table.name in sources]
    rows = {probe.feature: _spread_rows(probe.num_rows, int(lengths_B.sum())) for probe in asked}
    with torch.no_grad(), weighing(collection):
        pooled = collection.forward(_features(collection, rows, lengths_B)).to_dict()
    slack = _slack(collection)
    return tuple(
        _compare(
            probe.table,
            _rows_of(sources[probe.table.name], rows[probe.feature], threads),
            rows[probe.feature],
            lengths_B,
            pooled[probe.output],
            slack,
        )
        for probe in asked
    )


@contextmanager
def weighing(collection: nn.Module) -> Iterator[None]:
    """Let the bags of an EmbeddingBagCollection take weights of any dtype: torch wants them in that of the table."""
    bags = [module for module in collection.modules() if isinstance(module, nn.EmbeddingBag)]
    handles = [bag.register_forward_pre_hook(_cast_weights, with_kwargs=True) for bag in bags]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _cast_weights(bag: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    weights = kwargs.get("per_sample_weights")
    return args, kwargs if weights is None else {**kwargs, "per_sample_weights": weights.to(bag.weight.dtype)}


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """How a table is asked for its rows."""

    table: TorchrecTable
    feature: str
    output: str
    """What torchrec calls the pooled feature."""
    num_rows: int
    """Those that every table of the feature has."""


def _probes(tables: list[TorchrecTable]) -> Iterator[_Probe]:
    """Each table by the one of its features that reaches most of its rows."""
    num_rows: dict[str, int] = {}
    for table in tables:
        for feature in table.feature_names:
            num_rows[feature] = min(table.num_embeddings, num_rows.get(feature, table.num_embeddings))
    for table, outputs in zip(tables, get_embedding_names_by_table(tables), strict=True):
        feature = max(table.feature_names, key=num_rows.__getitem__)
        output = outputs[table.feature_names.index(feature)]
        yield _Probe(table, feature, output, num_rows[feature])


def _weighs_means(collection: EmbeddingBagCollection | ShardedEmbeddingBagCollection) -> bool:
    """Whether torch's EmbeddingBag would have to; FBGEMM's kernels, which sharded collections have, do it."""
    if isinstance(collection, ShardedEmbeddingBagCollection) or not collection.is_weighted():
        return False
    return any(table.pooling is PoolingType.MEAN for table in _configs(collection))


def _slack(collection: EmbeddingBagCollection | ShardedEmbeddingBagCollection) -> float:
    """What torchrec adds to the divisors of all tables of a sharded collection in which any is pooled by its mean."""
    is_divided = any(table.pooling is PoolingType.MEAN for table in _configs(collection))
    return 1e-6 if is_divided and isinstance(collection, ShardedEmbeddingBagCollection) else 0.0


def _configs(collection: EmbeddingBagCollection | ShardedEmbeddingBagCollection) -> list[TorchrecTable]:
    if isinstance(collection, ShardedEmbeddingBagCollection):
        return list(collection._embedding_bag_configs)
    return list(collection.embedding_bag_configs())


def _spread_rows(num_rows: int, num_ids: int) -> NDArray[np.int64]:
    """Rows from the first to the last, in an order that jumps; the same ones every time."""
    rows_N = np.linspace(0, num_rows - 1, num_ids).astype(np.int64)
    return rows_N[np.random.default_rng(0).permutation(num_ids)]


def _features(
    collection: EmbeddingBagCollection | ShardedEmbeddingBagCollection,
    rows: dict[str, NDArray[np.int64]],
    lengths_B: NDArray[np.int64],
) -> KeyedJaggedTensor:
    is_sharded = isinstance(collection, ShardedEmbeddingBagCollection)
    # Of a collection that was moved, `collection.device` is where it was built.
    device = collection._device if is_sharded else next(collection.parameters()).device
    is_weighted = collection._is_weighted if is_sharded else collection.is_weighted()
    keys = list(dict.fromkeys(feature for table in _configs(collection) for feature in table.feature_names))
    values = [rows.get(feature, np.empty(0, np.int64)) for feature in keys]
    lengths = [lengths_B if feature in rows else np.zeros(len(lengths_B), np.int64) for feature in keys]
    rows_N = torch.from_numpy(np.concatenate(values)).to(device)
    return KeyedJaggedTensor(
        keys=keys,
        values=rows_N,
        lengths=torch.from_numpy(np.concatenate(lengths)).to(torch.int32).to(device),
        weights=torch.ones(len(rows_N), device=rows_N.device) if is_weighted else None,
    )


def _rows_of(source: RowSource, rows_N: NDArray[np.int64], threads: int) -> NDArray[Any]:
    source_ND = np.empty((len(rows_N), source.dim), source.dtype)
    run([partial(source.read, row, row + 1, source_ND[i : i + 1]) for i, row in enumerate(rows_N.tolist())], threads)
    return source_ND


def _compare(
    table: TorchrecTable,
    source_ND: NDArray[Any],
    rows_N: NDArray[np.int64],
    lengths_B: NDArray[np.int64],
    pooled_BD: torch.Tensor,
    slack: float,
) -> Lookup:
    expected_BD, scale_BD = _pool(source_ND.astype(np.float64), lengths_B, mean=table.pooling is PoolingType.MEAN)
    found_BD = pooled_BD.float().cpu().numpy().astype(np.float64)
    same_BD = (found_BD == expected_BD) | (np.isnan(found_BD) & np.isnan(expected_BD))
    # Sums may leave what the table's type holds on their way.
    same_BD |= scale_BD * np.maximum(1, lengths_B)[:, None] > largest(source_ND.dtype)
    with np.errstate(invalid="ignore"):
        error_BD = np.where(same_BD, 0.0, np.abs(found_BD - expected_BD))
    tolerance = 4 * _epsilon(source_ND.dtype) + slack
    wrong_BD = ~(same_BD | (error_BD <= tolerance * scale_BD))
    if wrong_BD.any():
        bag = int(np.argwhere(wrong_BD)[0][0])
        raise IncompatibleError(
            ErrorKind.LOOKUP_MISMATCH,
            "a pooled lookup does not give the pooled source rows",
            where=f"table {table.name}, bag {bag} of rows {np.split(rows_N, np.cumsum(lengths_B)[:-1])[bag].tolist()}",
            expected=expected_BD[bag][:4].tolist(),
            found=found_BD[bag][:4].tolist(),
            hint="`embsnap doctor` tells whether torch, torchrec and fbgemm fit each other",
        )
    first = tuple(float(value) for value in found_BD[0][:4])
    return Lookup(table.name, len(lengths_B), len(rows_N), float(error_BD.max(initial=0.0)), first)


def _pool(
    rows_ND: NDArray[np.float64], lengths_B: NDArray[np.int64], *, mean: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pooled rows, and the sum of absolute values that went into each element."""
    bags = np.split(rows_ND, np.cumsum(lengths_B)[:-1])
    divisors = [max(1, len(bag)) if mean else 1 for bag in bags]
    pooled = [bag.sum(axis=0) / divisor for bag, divisor in zip(bags, divisors, strict=True)]
    scale = [np.abs(bag).sum(axis=0) / divisor for bag, divisor in zip(bags, divisors, strict=True)]
    return np.array(pooled), np.array(scale)


def _epsilon(dtype: np.dtype[Any]) -> float:
    """Relative precision of a pooled result: the rows' own, where that is less than float32's."""
    return max(float(ml_dtypes.finfo(dtype).eps), float(np.finfo(np.float32).eps))

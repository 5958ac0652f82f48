"""The tables of a live model, whether they are plain, on a GPU, or sharded over ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torchrec import EmbeddingBagCollection
from torchrec.distributed.embedding_lookup import BaseEmbeddingLookup
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.distributed.types import ShardedTensor

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, UsageError
from embsnap.live.arrays import numpy_dtype_of
from embsnap.live.filling import Band, RowsPart, bands
from embsnap.live.parts import LocalPart, dtype_of, local_parts, shape_of

__all__ = [
    "Collection",
    "LiveTable",
    "all_tables",
    "check_dtype",
    "find_tables",
    "forget_cached_rows",
    "is_shared",
    "only_tables",
]

Collection: TypeAlias = EmbeddingBagCollection | ShardedEmbeddingBagCollection

_PREFIX, _SUFFIX = "embedding_bags.", ".weight"


@dataclass(frozen=True, slots=True, eq=False)
class LiveTable:
    """One table of a live model, and what this rank holds of it."""

    name: str
    collection: Collection
    weight: Tensor | ShardedTensor
    parts: tuple[LocalPart, ...]
    """In the order in which the rank holds them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole table."""
        return shape_of(self.weight)

    @property
    def dtype(self) -> torch.dtype:
        """Of the elements."""
        return dtype_of(self.weight)

    @property
    def bands(self) -> tuple[Band, ...]:
        """The parts, by rows."""
        return bands(RowsPart(part.offsets[0], part.offsets[1], part.tensor) for part in self.parts)

    @property
    def rows(self) -> tuple[tuple[int, int], ...]:
        """Those of which this rank holds any element, as half-open ranges that do not overlap."""
        merged: list[tuple[int, int]] = []
        for band in self.bands:
            if merged and band.start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], band.end))
            else:
                merged.append((band.start, band.end))
        return tuple(merged)

    @property
    def key(self) -> str:
        """Of its weight within its collection."""
        return f"{_PREFIX}{self.name}{_SUFFIX}"

    @property
    def parameter(self) -> nn.Parameter:
        """What optimizers know of it on this rank."""
        parameter: nn.Parameter = self.collection.embedding_bags[self.name].weight
        return parameter


def is_shared(model: nn.Module) -> bool:
    """Whether the model lies over several ranks, so that all of them fill it together.

    Raises:
        UsageError: `bad-option`: it lies over some of the job's ranks only; the others would be waited for.
    """
    groups = list(_groups(model))
    for num_ranks in (dist.get_world_size(group) for group in groups if group is not None):
        if num_ranks < dist.get_world_size():
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "the model lies over a part of the job's ranks",
                where="model",
                expected=f"all {dist.get_world_size()} ranks",
                found=f"{num_ranks} of them",
                hint="shard it over all ranks, or fill it in a job of its own and save it",
            )
    return bool(groups) or any(isinstance(parameter, DTensor) for parameter in model.parameters())


def _groups(model: nn.Module) -> Iterator[dist.ProcessGroup | None]:
    for module in model.modules():
        if isinstance(module, ShardedEmbeddingBagCollection):
            yield module._env.process_group
        elif isinstance(module, DistributedDataParallel):
            yield module.process_group


def find_tables(model: nn.Module, shapes: Mapping[str, tuple[int, int]]) -> list[LiveTable]:
    """The tables of `model` that are to be filled, each of its shape.

    Args:
        model: Contains EmbeddingBagCollections, sharded or not.
        shapes: By name of table.

    Raises:
        NotFoundError: The model has no such table, or several.
        IncompatibleError: A table has another shape.
    """
    tables = []
    for table in only_tables(all_tables(model), shapes):
        _check_shape(table, shapes[table.name])
        tables.append(table)
    return tables


def all_tables(model: nn.Module) -> dict[str, list[LiveTable]]:
    """Every table of the EmbeddingBagCollections in `model`, by name; more than one where several have that name."""
    found: dict[str, list[LiveTable]] = {}
    for module in model.modules():
        if isinstance(module, EmbeddingBagCollection | ShardedEmbeddingBagCollection):
            for table in _tables_of(module):
                found.setdefault(table.name, []).append(table)
    return found


def only_tables(found: Mapping[str, list[LiveTable]], names: Iterable[str]) -> Iterator[LiveTable]:
    """The one table of each name.

    Raises:
        NotFoundError: The model has no such table, or several.
    """
    for name in names:
        _check_home(name, found)
        yield found[name][0]


def forget_cached_rows(collection: Collection) -> None:
    """Let go of rows that a device caches of tables in host memory, which are about to change."""
    for lookup in collection._lookups if isinstance(collection, ShardedEmbeddingBagCollection) else ():
        if isinstance(lookup, BaseEmbeddingLookup):  # those of data-parallel tables cache nothing
            lookup.flush()
            lookup.purge()


def _tables_of(collection: Collection) -> list[LiveTable]:
    if isinstance(collection, EmbeddingBagCollection):
        names = [table.name for table in collection.embedding_bag_configs()]
        weights = {name: collection.embedding_bags[name].weight for name in names}
    else:
        state = collection.state_dict()
        weights = {key.removeprefix(_PREFIX).removesuffix(_SUFFIX): value for key, value in state.items()}
    return [LiveTable(name, collection, weight, local_parts(weight)) for name, weight in weights.items()]


def _check_home(name: str, found: Mapping[str, list[LiveTable]]) -> None:
    num_found = len(found.get(name, ()))
    if num_found != 1:
        raise NotFoundError(
            ErrorKind.AMBIGUOUS_TABLE if num_found else ErrorKind.NO_SUCH_TABLE,
            f"{num_found or 'no'} EmbeddingBagCollections of the model have this table",
            where=f"table {name}",
            expected="exactly one",
            found=f"tables {', '.join(sorted(found)) or 'none'}",
            hint="name the tables as the model does, each in one collection",
        )


def _check_shape(table: LiveTable, shape: tuple[int, int]) -> None:
    if table.shape != shape:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "the model's table has another shape than the config's",
            where=f"table {table.name}",
            expected=list(shape),
            found=list(table.shape),
        )


def check_dtype(table: LiveTable, dtype: np.dtype[Any]) -> None:
    """Refuse a table that cannot take rows of this dtype.

    Raises:
        IncompatibleError: It has another dtype, or no memory yet.
    """
    for part in table.parts:
        if part.tensor.is_meta or numpy_dtype_of(part.tensor) != dtype:
            raise IncompatibleError(
                ErrorKind.DTYPE_MISMATCH,
                "the model's table cannot take the planned rows",
                where=f"table {table.name}",
                expected=dtype.name,
                found="a meta tensor" if part.tensor.is_meta else numpy_dtype_of(part.tensor).name,
                hint="materialise the model (to_empty), set data_type to its tables' dtype, and pretrained.cast: true",
            )

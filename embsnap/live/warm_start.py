"""Warm start of live modules: the plan of `embsnap.ops.warmstart`, with a module as its sink."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

import torch
from torch import nn
from torchrec import EmbeddingBagCollection

from embsnap.config.embedding import LargeEmbeddingsConfig, Mode
from embsnap.config.environ import config_environ
from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, UsageError
from embsnap.live.arrays import TensorRows, fill_tensor, numpy_dtype_of
from embsnap.live.lookup import check_lookup
from embsnap.live.modules import LargeEmbeddings
from embsnap.model.dtypes import DType
from embsnap.model.progress import SILENT, Progress
from embsnap.model.rows import RowSource
from embsnap.ops.config import read_large_embeddings
from embsnap.ops.warmstart.plan import (
    DEFAULT_OPTIONS,
    WarmstartOptions,
    WarmstartPlan,
    plan_warmstart,
    write_planned,
)
from embsnap.ops.warmstart.result import Lookup, WarmstartResult

__all__ = ["build_and_write", "warm_start"]

_TABLE_DTYPES = ("float32", "float16", "bfloat16")


def warm_start(
    model: nn.Module,
    config: LargeEmbeddingsConfig | str,
    *,
    options: WarmstartOptions = DEFAULT_OPTIONS,
    at: str | None = None,
    progress: Progress = SILENT,
) -> WarmstartResult:
    """Fill the tables of `model`, in place, with the rows that `config` names; every row follows its entity.

    Everything is checked before the first row is written. A pooled lookup through each EmbeddingBagCollection is
    compared with the source rows at the end.

    Args:
        model: Any module that contains EmbeddingBagCollections with the config's tables, each once.
        config: The tables, or the URI of a YAML file with them.
        options: Coverage gates, threads and memory budget; prefix and optimizer state concern written snapshots only.
        at: Where in the file the config stands.
        progress: Is told how far it is.

    Returns:
        What was carried, drawn and dropped, table by table.

    Raises:
        NotFoundError: The model has no such table, or several; or a snapshot, table or vocabulary does not exist.
        IncompatibleError: Shapes, dtypes or vocabularies do not fit, or a lookup gives something else.
        UsageError: A table of the model is sharded, or the config is wrong.
        SnapshotError, StorageError, GateError: As `plan_warmstart`.
    """
    if isinstance(config, str):
        config = read_large_embeddings(config, at=at, environ=config_environ(), options=options.storage_options)
    plan = plan_warmstart(config, options, progress=progress)
    targets = _find_targets(model, plan)
    began = monotonic()
    lookups = _fill(targets, plan, progress)
    return replace(plan.result(applied=True, seconds=monotonic() - began), lookups=lookups)


def build_and_write(
    config: LargeEmbeddingsConfig,
    plan: WarmstartPlan,
    uri: str,
    *,
    device: str,
    mode: Mode,
    progress: Progress = SILENT,
) -> WarmstartResult:
    """Build `LargeEmbeddings`, fill it by the plan, check a pooled lookup, and write its tables as a new snapshot.

    Args:
        config: What the plan was made of.
        plan: Every check was made with it.
        uri: Of the new snapshot.
        device: `cpu`, `cuda` (with an index), or `auto`: CUDA where there is one.
        mode: What the live model is; what is written does not depend on it.
        progress: Is told how far it is.

    Raises:
        UsageError: There is no such device, or a table's dtype is none that a live table can have.
        RefusedError, StorageError: As `write_warmstart`.
    """
    chosen = _device(device)
    model = LargeEmbeddings(config, device=chosen, mode=mode, dtypes=_dtypes(plan))
    lookups = _fill(_find_targets(model, plan), plan, progress)
    arrays = []
    for table in plan.tables:
        arrays.append(replace(table.weight_to_write, source=TensorRows(model.weight(table.name))))
        arrays += table.state_to_write
    result = write_planned(plan, arrays, uri, progress=progress)
    return replace(result, device=chosen, mode=mode.value, lookups=lookups)


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "there is no CUDA device that torch can use",
            where="--device",
            expected="cpu or auto",
            found=name,
            hint="`embsnap doctor` tells what torch sees",
        )
    return name


def _dtypes(plan: WarmstartPlan) -> dict[str, DType]:
    """The dtype of each live table, as planned.

    Raises:
        UsageError: No table can hold it.
    """
    dtypes = {table.name: table.weight_to_write.dtype for table in plan.tables}
    for name, dtype in dtypes.items():
        if dtype.name not in _TABLE_DTYPES:
            raise UsageError(
                ErrorKind.BAD_CONFIG,
                "an EmbeddingBagCollection cannot hold this dtype",
                where=f"table {name}",
                expected=", ".join(_TABLE_DTYPES),
                found=dtype,
                hint="set data_type and pretrained.cast: true, or use --no-model",
            )
    return dtypes


_Targets = list[tuple[EmbeddingBagCollection, dict[str, torch.Tensor]]]


def _find_targets(model: nn.Module, plan: WarmstartPlan) -> _Targets:
    """The collections of `model`, each with its tables that the plan fills, all checked.

    Raises:
        NotFoundError, IncompatibleError, UsageError: See `warm_start`.
    """
    collections = [module for module in model.modules() if isinstance(module, EmbeddingBagCollection)]
    homes: dict[str, list[EmbeddingBagCollection]] = {}
    for collection in collections:
        for table in collection.embedding_bag_configs():
            homes.setdefault(table.name, []).append(collection)
    for planned in plan.tables:
        _check_home(planned.name, homes)
        weight = homes[planned.name][0].embedding_bags[planned.name].weight
        _check_tensor(planned.name, weight, planned.tap)
    names = [planned.name for planned in plan.tables]
    return [
        (collection, {name: collection.embedding_bags[name].weight for name in names if homes[name][0] is collection})
        for collection in collections
    ]


def _check_home(name: str, homes: dict[str, list[EmbeddingBagCollection]]) -> None:
    found = len(homes.get(name, ()))
    if found != 1:
        raise NotFoundError(
            ErrorKind.AMBIGUOUS_TABLE if found else ErrorKind.NO_SUCH_TABLE,
            f"{found or 'no'} EmbeddingBagCollections of the model have this table",
            where=f"table {name}",
            expected="exactly one, not sharded",
            found=f"tables {', '.join(sorted(homes)) or 'none'}",
            hint="fill the model before it is sharded, and name the tables as the model does",
        )


def _check_tensor(name: str, weight: torch.Tensor, source: RowSource) -> None:
    if tuple(weight.shape) != (source.num_rows, source.dim):
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "the model's table has another shape than the config's",
            where=f"table {name}",
            expected=[source.num_rows, source.dim],
            found=list(weight.shape),
        )
    if weight.is_meta or numpy_dtype_of(weight) != source.dtype:
        raise IncompatibleError(
            ErrorKind.DTYPE_MISMATCH,
            "the model's table cannot take the planned rows",
            where=f"table {name}",
            expected=source.dtype.name,
            found="a meta tensor" if weight.is_meta else numpy_dtype_of(weight).name,
            hint="materialise the model, set the table's data_type to the model's, and pretrained.cast: true",
        )


def _fill(targets: _Targets, plan: WarmstartPlan, progress: Progress) -> tuple[Lookup, ...]:
    planned = {table.name: table for table in plan.tables}
    lookups: list[Lookup] = []
    for collection, weights in targets:
        for name, weight in weights.items():
            fill_tensor(
                weight,
                planned[name].tap,
                threads=plan.options.threads,
                block_bytes=plan.budget.fill_block_bytes,
                task=f"filling {name}",
                progress=progress,
            )
        if weights:
            lookups += check_lookup(collection, {name: planned[name].rows for name in weights})
    return tuple(lookups)

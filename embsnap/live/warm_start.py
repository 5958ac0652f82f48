"""Warm start of live modules: the plan of `embsnap.ops.warmstart`, with a module as its sink."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

import torch
from torch import nn

from embsnap.config.embedding import LargeEmbeddingsConfig, Mode
from embsnap.config.environ import config_environ
from embsnap.config.load import check_large_embeddings
from embsnap.errors import ErrorKind, UsageError
from embsnap.kernels.join import Join, join
from embsnap.live.arguments import check_argument
from embsnap.live.arrays import TensorRows
from embsnap.live.device import choose_device
from embsnap.live.device_join import DeviceJoin
from embsnap.live.half_filled import mark_filled, mark_half_filled
from embsnap.live.live_state import LiveOptimizer
from embsnap.live.modules import LargeEmbeddings
from embsnap.live.rank_reports import merged_result
from embsnap.live.ranks import Ranks
from embsnap.live.tables import LiveTable, all_tables, find_tables, is_shared
from embsnap.live.targets import Filled, fill_targets, find_targets
from embsnap.model.dtypes import DType
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.config import read_large_embeddings
from embsnap.ops.memory import available_memory
from embsnap.ops.warmstart.peers import Share, together
from embsnap.ops.warmstart.plan import (
    DEFAULT_OPTIONS,
    WarmstartOptions,
    WarmstartPlan,
    plan_warmstart,
    write_planned,
)
from embsnap.ops.warmstart.result import WarmstartResult
from embsnap.storage.uri import Uri

__all__ = ["build_and_write", "fill_model", "table_dtypes", "warm_start"]

_TABLE_DTYPES = ("float32", "float16", "bfloat16")


def warm_start(
    model: nn.Module,
    config: LargeEmbeddingsConfig | Mapping[str, Any] | Uri,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    optimizer_step: int | None = None,
    options: WarmstartOptions = DEFAULT_OPTIONS,
    at: str | None = None,
    progress: Progress = SILENT,
) -> WarmstartResult:
    """Fill the tables of `model`, in place, with the rows that `config` names; every row follows its entity.

    The model may be plain, on a GPU, or sharded by torchrec in any way: each rank reads what its own parts need. All
    ranks of a sharded model call this together. Everything is checked on all ranks before the first row is written, and
    what fails on one rank is raised on all of them. A pooled lookup through each EmbeddingBagCollection that is not
    sharded is compared with the source rows at the end.

    A table without `pretrained` has all its rows drawn by its initializer; so may all tables, for a first training.

    Optimizer state follows the rows by the same row map, into the optimizers that are fused into the backward pass and
    into `optimizer`; other rows get the initial state.

    Args:
        model: Any module that contains EmbeddingBagCollections with the config's tables, each once, sharded or not.
        config: The tables, as a config or as the plain data of one, or the URI of a YAML file with them.
        optimizer: What trains tables without a fused optimizer: a torchrec KeyedOptimizer, or one of torch that was
            given the tables' parameters. A keyed one, and torch's own, that make their state in their first step make
            that of the tables here.
        optimizer_step: The step that Adam continues from, where the snapshot does not hold it, as fused ones do not.
        options: Coverage gates, threads and memory budget; prefix and optimizer state concern written snapshots only.
        at: Where in the file the config stands.
        progress: Is told how far this rank is.

    Returns:
        What was carried, drawn and dropped, table by table, over all ranks; and as notes, which tables of the model
        the config does not name.

    Raises:
        NotFoundError: The model has no such table, or several; or a snapshot, table or vocabulary does not exist.
        IncompatibleError: Shapes, dtypes, vocabularies or optimizers do not fit, or a lookup gives something else.
        UsageError: The config or another argument is wrong, or two optimizers have state of one table.
        SnapshotError, StorageError, GateError: As `plan_warmstart`; `rank-lost` if another rank is gone.
    """

    def read_config() -> LargeEmbeddingsConfig:
        is_file = isinstance(config, str | os.PathLike)
        check_argument(at is None or is_file, "at", at, expected="None", hint="it is a place in a file: leave it out")
        if isinstance(config, LargeEmbeddingsConfig):
            return config
        if isinstance(config, Mapping):
            return check_large_embeddings(config)
        check_argument(
            is_file,
            "config",
            config,
            expected="a LargeEmbeddingsConfig, a dict, or the URI or path of a YAML file",
            hint="warm_start(model, config)",
        )
        return read_large_embeddings(
            os.fspath(config), at=at, environ=config_environ(), options=options.storage_options
        )

    result = fill_model(model, read_config, LiveOptimizer(optimizer, optimizer_step), options, progress)
    return replace(result, notes=(*result.notes, *_not_filled(model, {table.name for table in result.tables})))


def _not_filled(model: nn.Module, filled: set[str]) -> Iterator[Finding]:
    for name in sorted(all_tables(model).keys() - filled):
        message = "the model has it and keeps its rows, since the config does not name it"
        yield Finding(Severity.NOTE, "not-filled", f"table {name}", message)


def fill_model(
    model: nn.Module,
    read_config: Callable[[], LargeEmbeddingsConfig],
    trained_by: LiveOptimizer,
    options: WarmstartOptions,
    progress: Progress,
) -> WarmstartResult:
    """Fill a model on all ranks that it lies over: read the config, check everything, and write (see `warm_start`)."""
    check_argument(
        isinstance(model, nn.Module),
        "model",
        model,
        expected="a torch.nn.Module",
        hint="to fill several modules at once, give a torch.nn.ModuleList of them",
    )
    ranks = Ranks(alone=not is_shared(model))
    try:
        config, tables = together(ranks, lambda: _read_and_find(model, read_config, trained_by))
        wanted = {table.name: table.rows for table in tables}
        plan = plan_warmstart(
            config,
            options,
            share=Share(ranks, wanted),
            progress=progress,
            join=_join_for(tables),
            may_be_cold=True,
        )
        targets = together(ranks, lambda: find_targets(tables, plan, trained_by))
        block_bytes = min(ranks.gather(plan.budget.fill_block_bytes))
        began = monotonic()
        try:
            filled = ranks.agree(lambda: fill_targets(targets, plan, block_bytes, progress))
        except BaseException:
            mark_half_filled(tables)
            raise
        mark_filled(tables)
        return _result(plan, filled, monotonic() - began)
    finally:
        ranks.leave()


def _read_and_find(
    model: nn.Module, read_config: Callable[[], LargeEmbeddingsConfig], trained_by: LiveOptimizer
) -> tuple[LargeEmbeddingsConfig, list[LiveTable]]:
    check_argument(
        isinstance(trained_by.optimizer, torch.optim.Optimizer | None),
        "optimizer",
        trained_by.optimizer,
        expected="a torch.optim.Optimizer",
        hint="several are one as a torchrec CombinedOptimizer",
    )
    config = read_config()
    shapes = {table.name: (table.num_embeddings, table.embedding_dim) for table in config.tables}
    return config, find_tables(model, shapes)


def _join_for(tables: Sequence[LiveTable]) -> Join:
    """Ids are joined where the tables are."""
    devices = {part.tensor.device for table in tables for part in table.parts}
    cuda = [device for device in devices if device.type == "cuda"]
    return DeviceJoin(cuda[0]) if cuda else join


def _result(plan: WarmstartPlan, filled: list[Filled], seconds: float) -> WarmstartResult:
    result = merged_result(plan, [one.report for one in filled], seconds)
    notes = {(note.kind, note.place): note for one in filled for note in one.notes}
    return replace(result, lookups=filled[0].lookups, notes=(*result.notes, *notes.values()))


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
        MemoryError: The tables are larger than what the device has left.
        RefusedError, StorageError: As `write_warmstart`.
    """
    chosen = choose_device(device)
    _check_room(plan, chosen)
    model = LargeEmbeddings(config, device=chosen, mode=mode, dtypes=table_dtypes(plan))
    targets = find_targets(find_tables(model, plan.shapes), plan, None)
    filled = fill_targets(targets, plan, plan.budget.fill_block_bytes, progress)
    arrays = []
    for table in plan.tables:
        arrays.append(replace(table.weight_to_write, source=TensorRows(model.weight(table.name))))
        arrays += table.state_to_write
    result = write_planned(plan, arrays, uri, progress=progress)
    if chosen == "cpu":
        result = replace(result, peak_memory_bytes=result.peak_memory_bytes + plan.num_model_bytes)
    return replace(result, device=chosen, mode=mode.value, lookups=filled.lookups)


def _check_room(plan: WarmstartPlan, device: str) -> None:
    left = available_memory() if device == "cpu" else torch.cuda.mem_get_info(device)[0]
    if plan.num_model_bytes > left:
        gb = 1e9
        raise MemoryError(
            f"the tables take {plan.num_model_bytes / gb:.1f} GB and {device} has {left / gb:.1f} GB left; "
            "--no-model writes the same snapshot without them"
        )


def table_dtypes(plan: WarmstartPlan) -> dict[str, DType]:
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

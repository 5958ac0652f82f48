"""Restoring live modules: the same tables, filled with the rows that a snapshot holds, each in its place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from embsnap.config.embedding import EmbeddingBagConfig, EmbeddingSnapshot, LargeEmbeddingsConfig
from embsnap.config.policies import DataType, OptimizerStatePolicy
from embsnap.errors import ErrorKind, NotFoundError
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.live.arguments import check_argument
from embsnap.live.live_state import LiveOptimizer
from embsnap.live.tables import LiveTable, all_tables, only_tables
from embsnap.live.warm_start import fill_model
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.warmstart.plan import DEFAULT_OPTIONS, WarmstartOptions
from embsnap.ops.warmstart.result import WarmstartResult
from embsnap.storage.uri import Uri

__all__ = ["restore"]

_DATA_TYPES = {data_type.dtype.name: data_type for data_type in DataType}


def restore(
    model: nn.Module,
    uri: Uri,
    *,
    tables: Iterable[str] | None = None,
    partial: bool = False,
    cast: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    optimizer_step: int | None = None,
    optimizer_state: OptimizerStatePolicy | str = OptimizerStatePolicy.CARRY,
    options: WarmstartOptions = DEFAULT_OPTIONS,
    progress: Progress = SILENT,
) -> WarmstartResult:
    """Fill the tables of `model`, in place, with the tables of the same names in a snapshot, row by row.

    The model may be plain, on a GPU, or sharded by torchrec in any way, whatever the plan and world size of the job
    that wrote the snapshot; all ranks of a sharded model call this together, and each reads what its own parts need.
    Optimizer state is restored with the rows. Everything is checked on all ranks before the first row is written.

    Rows keep their places. A vocabulary that the snapshot names is compared with nothing, since a model has none; the
    result notes it.

    Args:
        model: Any module that contains EmbeddingBagCollections, sharded or not.
        uri: The snapshot; `@latest` and `@<step>` name a step of a run.
        tables: Names of those to restore, which both sides must have. All that the model has by default, which must be
            all that the snapshot has.
        partial: Restore what both sides have; the result's notes name what only one of them has.
        cast: Convert rows to the dtype of the model's table; otherwise another dtype is refused.
        optimizer: As for `warm_start`.
        optimizer_step: As for `warm_start`.
        optimizer_state: Whether optimizer state is carried (`carry`), starts anew (`reset`), or must follow exactly
            (`refuse`).
        options: Threads, memory budget and storage options.
        progress: Is told how far this rank is.

    Returns:
        What was restored, table by table, over all ranks; and as notes, what was not.

    Raises:
        NotFoundError: A table is missing, in several places, or only on one side; or there is no snapshot.
        IncompatibleError: Shapes, dtypes or optimizers differ, or a lookup gives something else.
        SnapshotError, StorageError, UsageError: As `warm_start`.
    """
    _check_arguments(uri, tables, optimizer_state)
    policy = OptimizerStatePolicy(optimizer_state)
    asked = _Asked(os.fspath(uri), None if tables is None else tuple(tables), partial, cast, policy, options)
    notes: list[Finding] = []

    def read_config() -> LargeEmbeddingsConfig:
        config, found = asked.of(model)
        notes.extend(found)
        return config

    trained_by = LiveOptimizer(optimizer, optimizer_step)
    result = fill_model(model, read_config, trained_by, replace(options, command="restore"), progress)
    return replace(result, notes=(*result.notes, *notes))


def _check_arguments(uri: Uri, tables: Iterable[str] | None, optimizer_state: OptimizerStatePolicy | str) -> None:
    check_argument(
        isinstance(uri, str | os.PathLike), "uri", uri, expected="a URI or a path", hint="restore(model, uri)"
    )
    check_argument(
        isinstance(tables, Iterable | None) and not isinstance(tables, str),
        "tables",
        tables,
        expected="a list of names",
        hint='tables=["user"] names one table',
    )
    check_argument(
        optimizer_state in list(OptimizerStatePolicy),
        "optimizer_state",
        optimizer_state,
        expected=", ".join(OptimizerStatePolicy),
        hint="it says what becomes of the state; an optimizer is given as `optimizer`",
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be restored."""

    uri: str
    tables: tuple[str, ...] | None
    partial: bool
    cast: bool
    state: OptimizerStatePolicy
    options: WarmstartOptions

    def of(self, model: nn.Module) -> tuple[LargeEmbeddingsConfig, list[Finding]]:
        """The tables as a config that keeps every row where it is, and what is left aside."""
        snapshot = open_snapshot(self.uri, options=self.options.storage_options, check=self.options.check)
        live = all_tables(model)
        names, notes = self._choose(live, snapshot)
        chosen = only_tables(live, names)
        config = LargeEmbeddingsConfig(tables=tuple(self._as_config(table, snapshot.uri) for table in chosen))
        return config, [*notes, *_not_compared(snapshot, names)]

    def _choose(self, live: Mapping[str, object], snapshot: Snapshot) -> tuple[tuple[str, ...], list[Finding]]:
        stored = {snapshot.index.names[path] for path in snapshot.index.names if _is_bag(path)}
        if self.tables is not None:
            names = tuple(dict.fromkeys(self.tables))
        elif self.partial:
            names = tuple(name for name in live if name in stored)
        else:
            names = tuple(live)
            _check_only_stored(stored - live.keys(), live, snapshot.uri)
        if not names:
            raise _nothing_common(live, stored, snapshot.uri)
        left = [(name, "the snapshot has it, the model was not given it") for name in stored - set(names)]
        left += [(name, "the model has it and keeps its rows") for name in live.keys() - set(names)]
        return names, [Finding(Severity.NOTE, "not-restored", f"table {name}", text) for name, text in sorted(left)]

    def _as_config(self, table: LiveTable, uri: str) -> EmbeddingBagConfig:
        num_embeddings, embedding_dim = table.shape
        dtype = str(table.dtype).removeprefix("torch.")
        return EmbeddingBagConfig(
            name=table.name,
            num_embeddings=num_embeddings,
            embedding_dim=embedding_dim,
            data_type=_DATA_TYPES.get(dtype),
            pretrained=EmbeddingSnapshot(
                emb_name=table.name, embedding_snapshot_uri=uri, by_position=True, cast=self.cast
            ),
            optimizer_state=self.state,
        )


def _is_bag(path: str) -> bool:
    """Whether a weight is that of an EmbeddingBagCollection, and of no other layer whose state keys are like its."""
    return path.rpartition("/")[2].split(".")[-3] == "embedding_bags"


def _check_only_stored(missing: set[str], live: Iterable[str], uri: str) -> None:
    if missing:
        raise NotFoundError(
            ErrorKind.NO_SUCH_TABLE,
            "the model has no such table, and the snapshot has",
            where=f"table {', '.join(sorted(missing))} of {uri}",
            expected="the same tables on both sides",
            found=f"tables {', '.join(sorted(live)) or 'none'} in the model",
            hint="name the tables with `tables`, or say partial=True to restore what both have",
        )


def _nothing_common(live: Iterable[str], stored: Iterable[str], uri: str) -> NotFoundError:
    return NotFoundError(
        ErrorKind.NO_SUCH_TABLE,
        "there is no table to restore",
        where=uri,
        expected=f"tables {', '.join(sorted(live)) or 'none'}, as in the model's EmbeddingBagCollections",
        found=f"tables {', '.join(sorted(stored)) or 'none'}",
    )


def _not_compared(snapshot: Snapshot, names: Iterable[str]) -> Iterator[Finding]:
    recorded = {} if snapshot.sidecar is None else snapshot.sidecar.tables
    for name in names:
        if name in recorded:
            message = f"rows keep their places; the vocabulary {recorded[name].uri} was compared with none"
            yield Finding(Severity.NOTE, "vocabulary-not-compared", f"table {name}", message)

"""Restoring live modules: the same tables, filled with the rows that a snapshot holds, each in its place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from embsnap.config.embedding import EmbeddingBagConfig, EmbeddingSnapshot, LargeEmbeddingsConfig
from embsnap.config.policies import DataType, OptimizerStatePolicy
from embsnap.errors import ErrorKind, NotFoundError
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.formats.torchsnapshot.tables import first_of_all_in_model
from embsnap.live.arguments import check_argument
from embsnap.live.live_state import LiveOptimizer
from embsnap.live.tables import LiveTable, all_tables, only_tables
from embsnap.live.warm_start import fill_model
from embsnap.model.findings import Finding, Severity
from embsnap.model.paths import last_segment
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
        tables: Names of those to restore, which both sides must have; or logical paths in the snapshot, where several
            tables have the name. All that the model has by default, which must be all that the snapshot has.
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
    notes: list[Finding] = []

    def read_config() -> LargeEmbeddingsConfig:
        _check_arguments(uri, tables, optimizer_state)
        policy = OptimizerStatePolicy(optimizer_state)
        asked = _Asked(os.fspath(uri), None if tables is None else tuple(tables), partial, cast, policy, options)
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
        names = {module: name for name, module in model.named_modules()}
        stored = _stored_bags(snapshot, live, names)
        chosen, notes = self._choose(live, stored, snapshot)
        tables = []
        for table in only_tables(live, chosen):
            path = chosen[table.name]
            if path == table.name and path in stored:
                path = _own_path(table, stored[path], names, snapshot.uri)
            tables.append(self._as_config(table, snapshot.uri, path))
        return LargeEmbeddingsConfig(tables=tuple(tables)), [*notes, *_not_compared(snapshot, chosen)]

    def _choose(
        self, live: Mapping[str, object], stored: Mapping[str, object], snapshot: Snapshot
    ) -> tuple[dict[str, str], list[Finding]]:
        """Names of the model's tables, each with the name or path under which it was asked for."""
        if self.tables is not None:
            chosen = {snapshot.index.names.get(asked, asked): asked for asked in self.tables}
        elif self.partial:
            chosen = {name: name for name in live if name in stored}
        else:
            chosen = {name: name for name in live}
            _check_only_stored(stored.keys() - live.keys(), live, snapshot.uri)
        if not chosen:
            raise _nothing_common(live, stored, snapshot.uri)
        left = [(name, "the snapshot has it, the model was not given it") for name in stored.keys() - chosen.keys()]
        left += [(name, "the model has it and keeps its rows") for name in live.keys() - chosen.keys()]
        return chosen, [Finding(Severity.NOTE, "not-restored", f"table {name}", text) for name, text in sorted(left)]

    def _as_config(self, table: LiveTable, uri: str, path: str) -> EmbeddingBagConfig:
        num_embeddings, embedding_dim = table.shape
        dtype = str(table.dtype).removeprefix("torch.")
        return EmbeddingBagConfig(
            name=table.name,
            num_embeddings=num_embeddings,
            embedding_dim=embedding_dim,
            data_type=_DATA_TYPES.get(dtype),
            pretrained=EmbeddingSnapshot(emb_name=path, embedding_snapshot_uri=uri, by_position=True, cast=self.cast),
            optimizer_state=self.state,
        )


def _stored_bags(
    snapshot: Snapshot, live: Mapping[str, Sequence[LiveTable]], names: Mapping[nn.Module, str]
) -> dict[str, list[str]]:
    """Paths of tables of EmbeddingBagCollections, by name; the model's layers with keys like theirs are left out."""
    collections = {table.collection for tables in live.values() for table in tables}
    owned = {module for collection in collections for module in collection.modules()}
    others = {
        f".{name}.weight"
        for module, name in names.items()
        if isinstance(getattr(module, "weight", None), torch.Tensor) and module not in owned
    }
    stored: dict[str, list[str]] = {}
    for path, name in snapshot.index.names.items():
        key = f".{last_segment(path)}"
        if key.split(".")[-3] == "embedding_bags" and not any(other.endswith(key) for other in others):
            stored.setdefault(name, []).append(path)
    return stored


def _own_path(table: LiveTable, paths: Sequence[str], names: Mapping[nn.Module, str], uri: str) -> str:
    """Which of the stored tables of its name is the model's: the one under its state key, first of all in `model`.

    Raises:
        NotFoundError: `ambiguous-table`.
    """
    # It begins with the names of what wraps the model (DistributedDataParallel, torch.compile).
    full_key = f".{names[table.collection]}.{table.key}"
    fitting = {last_segment(path) for path in paths if full_key.endswith(f".{last_segment(path)}")}
    own = [path for path in paths if last_segment(path) == max(fitting, key=len)] if fitting else paths
    own = first_of_all_in_model(own)
    if len(own) > 1:
        raise NotFoundError(
            ErrorKind.AMBIGUOUS_TABLE,
            f"the snapshot has {len(paths)} tables of this name",
            where=f"table {table.name} of {uri}",
            expected=f"one under the model's own state key {full_key.strip('.')}",
            found=", ".join(paths[:10]),
            hint="give the path of one of them in `tables`",
        )
    return own[0]


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

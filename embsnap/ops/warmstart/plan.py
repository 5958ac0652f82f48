"""Warm start: yesterday's rows under today's vocabulary, planned as data and applied block by block.

    plan = plan_warmstart(config, options)     every check is made here, before anything is written
    write_warmstart(plan, "runs/day2")         rows go from snapshot to snapshot, without torch

`embsnap.live` fills a module from the same plan.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from time import monotonic

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.errors import ErrorKind, GateError, UsageError
from embsnap.formats.sidecar import Lineage, Parent, TableVocabulary
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.kernels.join import Join, join
from embsnap.kernels.loading import kernels_loading, load_warmstart
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.memory import Budget, available_memory
from embsnap.ops.warmstart.paths import DEFAULT_PREFIX, check_prefix
from embsnap.ops.warmstart.peers import WHOLE, Share, alike
from embsnap.ops.warmstart.result import TableReport, WarmstartResult
from embsnap.ops.warmstart.sources import Sources
from embsnap.ops.warmstart.state import OptimizerStateForm
from embsnap.ops.warmstart.state_rows import FoldedState
from embsnap.ops.warmstart.table import PlannedTable, plan_table
from embsnap.ops.warmstart.tap import Tap
from embsnap.storage.uri import Uri, absolute_uri, is_remote, open_store

__all__ = ["DEFAULT_OPTIONS", "WarmstartOptions", "WarmstartPlan", "plan_warmstart", "write_planned", "write_warmstart"]

_REMOTE_THREADS = 4


@dataclass(frozen=True, slots=True)
class WarmstartOptions:
    """What the command line adds to a config."""

    command: str = "warmstart"
    """As the lineage names it."""
    prefix: str = DEFAULT_PREFIX
    """App key and module path of the tables in the new snapshot."""
    optimizer_state: OptimizerStateForm = OptimizerStateForm.TENSOR
    identical: bool = False
    """Refuse a table of which any entity is new, gone or moved (`embsnap restore`)."""
    min_coverage: float | None = None
    """Least carried / (carried + new) of each table with a vocabulary."""
    min_weighted_coverage: float | None = None
    """The same weighted by the new vocabulary's counts."""
    threads: int = 2
    memory_budget: int | None = None
    """Bytes of row data in memory at once; None is a quarter of what is available."""
    storage_options: Mapping[str, str] = field(default_factory=dict)
    check: bool = True
    """Compare whole blocks that are read with the checksums in the old snapshots' sidecars."""
    row_maps: Mapping[str, str] = field(default_factory=dict)
    """By table the URI of a row map, used instead of joining its two vocabularies."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: `bad-option`: one is out of range.
        """
        if self.threads < 1:
            raise _out_of_range("threads", "1 or more", self.threads)
        for name, gate in (
            ("min_coverage", self.min_coverage),
            ("min_weighted_coverage", self.min_weighted_coverage),
        ):
            if gate is not None and not 0 <= gate <= 1:
                raise _out_of_range(name, "a number in [0, 1]", gate)


DEFAULT_OPTIONS = WarmstartOptions()


@dataclass(frozen=True, slots=True, eq=False)
class WarmstartPlan:
    """The tables of a new model, each with where its rows come from. Nothing has been written yet."""

    tables: tuple[PlannedTable, ...]
    options: WarmstartOptions
    budget: Budget
    seconds: float
    """Spent on planning: vocabularies read, ids joined."""

    def arrays(self) -> list[ArrayToWrite]:
        """Weights, then optimizer state, table by table."""
        return [array for table in self.tables for array in (table.weight_to_write, *table.state_to_write)]

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Rows and dim of each table, by name."""
        return {table.name: (table.tap.num_rows, table.tap.dim) for table in self.tables}

    @property
    def digest(self) -> str:
        """Hex SHA-256 over all that decides what is written: equal digests give equal snapshots."""
        described = {
            "command": self.options.command,
            "prefix": self.options.prefix,
            "optimizer_state": self.options.optimizer_state.value,
            "tables": [table.description for table in self.tables],
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    @property
    def peak_memory_bytes(self) -> int:
        """Row maps, and the larger of what planning took and what applying takes."""
        planning = max(table.num_planning_bytes for table in self.tables)
        return sum(table.num_map_bytes for table in self.tables) + max(planning, self.budget.row_bytes)

    @property
    def num_model_bytes(self) -> int:
        """Of the tables in memory, as a live model has them."""
        return sum(_num_bytes(table.weight_to_write) for table in self.tables)

    @property
    def is_mapped(self) -> bool:
        """Whether all old tables lie in storage that maps into memory."""
        return all(table.old is None or table.old.weight.is_mapped for table in self.tables)

    def threads_to(self, uri: str | None) -> int:
        """Threads that carry rows to a destination, None being memory; those that wait for a network need no core."""
        stays = self.is_mapped and (uri is None or not is_remote(uri))
        return self.options.threads if stays else max(self.options.threads, _REMOTE_THREADS)

    def check_unchanged(self) -> None:
        """Prove that no snapshot was replaced since the plan was made.

        Raises:
            StorageError: `object-replaced`.
        """
        for snapshot in {table.old.snapshot.uri: table.old.snapshot for table in self.tables if table.old}.values():
            snapshot.check_unchanged()

    def lineage(self) -> Lineage:
        """Which snapshots the tables come from, and how many of their rows."""
        parents = sorted(
            {(t.old.snapshot.uri, t.old.snapshot.metadata_sha256) for t in self.tables if t.old is not None}
        )
        return Lineage(
            parents=tuple(Parent(absolute_uri(uri), digest) for uri, digest in parents),
            command=self.options.command,
            plan_digest=self.digest,
            counts={table.name: asdict(table.counts) for table in self.tables},
        )

    def vocabularies(self) -> dict[str, TableVocabulary]:
        """The vocabulary of each new table, as the sidecar records it."""
        return {
            table.name: TableVocabulary(absolute_uri(table.vocabulary.uri), table.vocabulary.fingerprint)
            for table in self.tables
            if table.vocabulary is not None
        }

    def notes(self) -> tuple[Finding, ...]:
        """What whoever reads the written optimizer state should know of it."""
        states = [(table, array) for table in self.tables for array in table.state_to_write]
        folded = [_folded_note(table, array) for table, array in states if isinstance(array.source, FoldedState)]
        if not states or self.options.optimizer_state is not OptimizerStateForm.SHARDED:
            return tuple(folded)
        message = "optimizer state is written sharded, beside which torchsnapshot 0.1.0 restores nothing"
        remedy = "read it with torchsnapshot's main branch or embsnap, or leave out --optimizer-state sharded"
        return (Finding(Severity.NOTE, "sharded-state", "optimizer state", message, remedy), *folded)

    def result(self, *, applied: bool = False, seconds: float = 0.0) -> WarmstartResult:
        """What is reported: of the plan alone, or once its rows were read, which took `seconds`."""
        return WarmstartResult(
            command=self.options.command,
            destination=None,
            applied=applied,
            tables=tuple(_report(table, applied=applied) for table in self.tables),
            plan_digest=self.digest,
            num_bytes_to_read=sum(table.num_bytes_to_read for table in self.tables),
            num_bytes_to_write=sum(_num_bytes(array) for array in self.arrays()),
            peak_memory_bytes=self.peak_memory_bytes,
            planning_seconds=self.seconds,
            seconds=self.seconds + seconds,
        )


def plan_warmstart(
    config: LargeEmbeddingsConfig,
    options: WarmstartOptions = DEFAULT_OPTIONS,
    *,
    share: Share = WHOLE,
    progress: Progress = SILENT,
    join: Join = join,
    may_be_cold: bool = False,
) -> WarmstartPlan:
    """Find and check everything that `config` names, and map the rows of every table.

    Args:
        config: The new tables.
        options: What the command line adds.
        share: Who plans together, each with the same config and options, and which rows this process will ask for.
            The plan is the one that a single process makes, but knows only those rows.
        progress: Is told of what is read.
        join: What joins the ids, where one process plans alone.
        may_be_cold: Whether all rows of all tables may be drawn, as for a first training.

    Raises:
        UsageError: No table has `pretrained` and they may not be cold, or an option makes no sense.
        NotFoundError: A snapshot, table or vocabulary does not exist.
        SnapshotError: A snapshot is torn or corrupt.
        IncompatibleError: Shapes, dtypes or vocabularies do not fit.
        GateError: A table's coverage is below `min_coverage` or `min_weighted_coverage`.
        StorageError: The storage failed, or what the ranks have found is not the same (`object-replaced`).
    """
    began = monotonic()
    check_prefix(options.prefix)
    if not may_be_cold and not any(table.pretrained is not None for table in config.tables):
        raise UsageError(
            ErrorKind.NOTHING_TO_DO,
            "no table has `pretrained`, so there is nothing to start from",
            hint="give at least one table a pretrained snapshot: {emb_name: …, embedding_snapshot_uri: …}",
        )
    _check_row_maps(config, options.row_maps)
    sources = Sources(
        options=options.storage_options, threads=options.threads, progress=progress, check=options.check, join=join
    )
    logged = config.logged_tables()
    with kernels_loading(load_warmstart) if any(table.vocab is not None for table in config.tables) else nullcontext():
        tables = tuple(
            plan_table(
                table,
                sources,
                prefix=options.prefix,
                optimizer_state=options.optimizer_state,
                identical=options.identical,
                threads=options.threads,
                log_norm=table.name in logged,
                row_map=options.row_maps.get(table.name),
                share=share,
            )
            for table in config.tables
        )
    _check_gates(tables, options)
    budget = Budget.of(options.memory_budget or available_memory() // 4, options.threads)
    plan = WarmstartPlan(tables, options, budget, monotonic() - began)
    where = ", ".join(parent.uri for parent in plan.lineage().parents)
    return alike(share.peers, lambda: plan, lambda made: f"the plan {made.digest[:12]}", where)


def write_warmstart(plan: WarmstartPlan, uri: Uri, *, progress: Progress = SILENT) -> WarmstartResult:
    """Write the planned tables as a new snapshot, streaming from the old one; torch is not needed.

    Raises:
        RefusedError: The destination holds anything that embsnap did not write, or is committed.
        StorageError: The storage failed; nothing is visible at `uri`.
        IncompatibleError: A cast overflowed; nothing is visible at `uri`.
    """
    return write_planned(plan, plan.arrays(), os.fspath(uri), progress=progress)


def write_planned(
    plan: WarmstartPlan, arrays: list[ArrayToWrite], uri: str, *, progress: Progress = SILENT
) -> WarmstartResult:
    """Write `arrays`, the planned ones or a live model's in their stead, with the plan's lineage."""
    began = monotonic()
    with ExitStack() as stack:
        for table in plan.tables:
            for fetching in table.fetchings:
                stack.enter_context(fetching)
        written = write_snapshot(
            open_store(uri, plan.options.storage_options),
            arrays,
            plan_digest=plan.digest,
            vocabularies=plan.vocabularies(),
            lineage=plan.lineage(),
            threads=plan.threads_to(uri),
            block_bytes=plan.budget.block_bytes if plan.is_mapped else plan.budget.fill_block_bytes,
            progress=progress,
            before_commit=plan.check_unchanged,
        )
    result = plan.result(applied=True, seconds=monotonic() - began)
    return replace(result, destination=written.uri, notes=(*written.notes, *plan.notes()))


def _check_row_maps(config: LargeEmbeddingsConfig, row_maps: Mapping[str, str]) -> None:
    """Refuse a row map that no table could use.

    Raises:
        UsageError: `bad-option`.
    """
    usable = [t.name for t in config.tables if t.pretrained is not None and not t.pretrained.by_position]
    for name in row_maps:
        if name not in usable:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "a row map is given for what is no table with `pretrained`, or one that is carried by position",
                where=f"--remap {name}={row_maps[name]}",
                expected=f"one of {', '.join(usable)}" if usable else "no such option, as no table can take one",
                found=name,
            )


def _check_gates(tables: tuple[PlannedTable, ...], options: WarmstartOptions) -> None:
    aligned = [
        table
        for table in tables
        if table.old is not None and (table.vocabulary is not None or table.row_map is not None)
    ]
    below = [
        *_below("coverage", options.min_coverage, {table.name: table.coverage for table in aligned}),
        *_below(
            "weighted coverage",
            options.min_weighted_coverage,
            {table.name: table.weighted_coverage for table in aligned},
        ),
    ]
    if below:
        raise GateError(
            ErrorKind.COVERAGE_BELOW_GATE,
            "too few entities are known to the old vocabulary; nothing was written",
            where=", ".join(below),
            hint="check that both vocabularies are the right days', or lower the gate",
        )


def _below(name: str, gate: float | None, values: Mapping[str, float | None]) -> list[str]:
    """The tables below a gate, as text.

    Raises:
        UsageError: A table has no such value.
    """
    if gate is None:
        return []
    below = []
    for table, value in values.items():
        if value is None:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                f"its {name} cannot be gated",
                where=f"table {table}",
                expected="entities by vocabulary, with counts where the gate is weighted",
                found="no entities, no counts, or counts that are all zero",
                hint="leave the gate out, or name a column of other counts in vocab_columns.count",
            )
        if not value >= gate:
            below.append(f"{table} {name} {value:.4f} < {gate:g}")
    return below


def _folded_note(table: PlannedTable, array: ArrayToWrite) -> Finding:
    message = "each column shard had a value of its own for each row; they are folded into one by column_state"
    return Finding(Severity.NOTE, "folded-state", f"table {table.name}, {array.path}", message)


def _out_of_range(option: str, expected: str, found: object) -> UsageError:
    return UsageError(ErrorKind.BAD_OPTION, "is out of range", where=option, expected=expected, found=found)


def _num_bytes(array: ArrayToWrite) -> int:
    return array.rows.num_rows * array.rows.row_bytes


def _report(table: PlannedTable, *, applied: bool) -> TableReport:
    tap: Tap = table.tap
    return TableReport(
        name=table.name,
        num_embeddings=table.weight_to_write.shape[0],
        embedding_dim=table.weight_to_write.shape[1],
        dtype=table.weight_to_write.dtype.name,
        source_uri=None if table.old is None else table.old.snapshot.uri,
        source_table=None if table.old is None else table.old.shown_name,
        alignment=table.alignment,
        counts=table.counts,
        coverage=table.coverage,
        weighted_coverage=table.weighted_coverage,
        initializer=table.initializer,
        optimizer_state=tuple(array.path for array in table.state_to_write),
        num_bytes=sum(_num_bytes(array) for array in (table.weight_to_write, *table.state_to_write)),
        seconds=tap.seconds if applied else None,
        mean_norm=tap.mean_norm if applied else None,
        findings=table.findings,
        row_map=table.row_map,
        num_unchecked_rows=table.old.weight.num_unchecked_rows if applied and table.old is not None else None,
    )

"""What computing the statistics of a snapshot takes, and doing it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, UsageError
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.model.progress import SILENT, Progress
from embsnap.model.stats_plan import StatsPlan, TablePlan
from embsnap.model.table import StoredArray, Table
from embsnap.model.table_stats import SkippedTable, SnapshotStats
from embsnap.ops.stats.findings import table_findings
from embsnap.ops.stats.options import StatsOptions
from embsnap.ops.stats.table import TableToScan, table_stats
from embsnap.ops.stats.updates import telling_state
from embsnap.ops.table_names import told_apart

__all__ = ["SnapshotScan", "check_vocabularies", "plan_stats", "plan_step"]

_BYTES_PER_ROW = 16
"""A norm, and the same in order."""
_BYTES_PER_HASHED_ROW = 32
"""A hash, and the same by partition."""
_LAST_NUMBER = re.compile(r"[/@]([0-9]{1,18})/?$")


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotScan:
    """The tables of one snapshot that are to be read; nothing of them has been."""

    snapshot: Snapshot
    options: StatsOptions
    tables: tuple[TableToScan, ...]
    skipped: tuple[SkippedTable, ...]
    step: int | None
    walltime: float | None

    def result(self, outputs: Sequence[str] = ()) -> StatsPlan:
        """The same, to be shown."""
        plans = self.table_plans()
        return StatsPlan(
            uri=self.snapshot.uri,
            tables=plans,
            skipped=self.skipped,
            known_steps=(),
            outputs=tuple(outputs),
            num_bytes_to_read=sum(plan.num_bytes_to_read for plan in plans),
            scratch_bytes=max((plan.scratch_bytes for plan in plans), default=0),
        )

    def table_plans(self) -> tuple[TablePlan, ...]:
        """What each table takes."""
        return tuple(self._table_plan(to_scan) for to_scan in self.tables)

    def compute(self, *, progress: Progress = SILENT) -> SnapshotStats:
        """Read each table once.

        Raises:
            IncompatibleError: A vocabulary does not fit its table, or has no counts.
            SnapshotError: An object is not what the manifest says.
            StorageError: The storage failed, the snapshot was replaced meanwhile, or there is no room for what is kept
                of each row.
        """
        started = time.monotonic()
        tables = tuple(table_stats(to_scan, self.options, progress) for to_scan in self.tables)
        self.snapshot.check_unchanged()
        return SnapshotStats(
            uri=self.snapshot.uri,
            metadata_sha256=self.snapshot.metadata_sha256,
            step=self.step,
            walltime=self.walltime,
            near_zero=self.options.near_zero,
            exploded_factor=self.options.exploded_factor,
            tables=tables,
            skipped=self.skipped,
            num_bytes_read=sum(plan.num_bytes_to_read for plan in self.table_plans()),
            seconds=time.monotonic() - started,
            written=(),
            findings=tuple(finding for table in tables for finding in table_findings(table)),
            num_unchecked_rows=self.snapshot.num_unchecked_rows,
        )

    def _table_plan(self, to_scan: TableToScan) -> TablePlan:
        weight, options = to_scan.table.weight, self.options
        share = to_scan.num_rows / to_scan.table.num_embeddings if to_scan.table.num_embeddings else 1.0
        state_bytes = 0 if to_scan.state is None else to_scan.state.array.num_bytes
        per_row = _BYTES_PER_ROW + (_BYTES_PER_HASHED_ROW if options.duplicates and not to_scan.is_sample else 0)
        return TablePlan(
            name=to_scan.table.name,
            step=self.step,
            num_rows=to_scan.num_rows,
            embedding_dim=to_scan.table.embedding_dim,
            dtype=weight.dtype.name,
            num_bytes_to_read=round((weight.num_bytes + state_bytes) * share),
            scratch_bytes=to_scan.num_rows * per_row,
        )


def plan_stats(uri: str, options: StatsOptions | None = None) -> SnapshotScan:
    """Open a snapshot and choose what is to be read of it.

    Args:
        uri: Its root; `RUN@latest` and `RUN@<step>` name a step of a run.
        options: Which tables, and what to compute of them.

    Raises:
        NotFoundError: Nothing is there, or no such table.
        SnapshotError: No committed, readable snapshot is there, or a table cannot be read as it stands.
        IncompatibleError: `dtype-mismatch`: a table asked for by name holds no floating point numbers.
        UsageError: `nothing-to-do`: the snapshot has no table with statistics; `bad-option`: a vocabulary is given for
            a table that is not read.
        StorageError: The storage failed.
    """
    options = options or StatsOptions()
    scan = plan_step(uri, options)
    check_vocabularies(options, [to_scan.table.name for to_scan in scan.tables])
    return scan


def plan_step(uri: str, options: StatsOptions) -> SnapshotScan:
    """The same for one step of a run, which may lack tables that other steps have: their vocabularies are passed by.

    Raises:
        EmbsnapError: As `plan_stats`, but for vocabularies.
    """
    snapshot = open_snapshot(uri, options=options.storage_options, check=options.check)
    if options.tables:
        chosen = [
            _floating(table) for table in told_apart(snapshot, map(snapshot.table, dict.fromkeys(options.tables)))
        ]
        skipped = []
    else:
        tables = told_apart(snapshot, snapshot.tables())
        chosen = [table for table in tables if table.weight.dtype.is_floating]
        others = [table for table in tables if not table.weight.dtype.is_floating]
        skipped = [SkippedTable(table.name, f"it holds {table.weight.dtype}") for table in others]
    if not chosen:
        raise UsageError(
            ErrorKind.NOTHING_TO_DO,
            "has no table of floating point numbers",
            where=snapshot.uri,
            hint="`embsnap inspect` lists what it holds",
        )
    tables_to_scan = tuple(_to_scan(snapshot, table, options) for table in chosen)
    step, walltime = _when(snapshot)
    return SnapshotScan(snapshot, options, tables_to_scan, tuple(skipped), step, walltime)


def _to_scan(snapshot: Snapshot, table: Table, options: StatsOptions) -> TableToScan:
    num_rows = min(table.num_embeddings, options.sample_rows or table.num_embeddings)
    state = telling_state(table) if options.updates else None
    return TableToScan(snapshot, table, state, num_rows, _is_mapped(snapshot, table.weight))


def _is_mapped(snapshot: Snapshot, weight: StoredArray) -> bool:
    try:
        return any(snapshot.store.map(piece.location) is not None for piece in weight.pieces[:1])
    except NotFoundError:
        return False  # reading it says which object is missing


def _floating(table: Table) -> Table:
    if not table.weight.dtype.is_floating:
        raise IncompatibleError(
            ErrorKind.DTYPE_MISMATCH,
            "has no norms",
            where=table.name,
            expected="floating point numbers",
            found=table.weight.dtype,
            hint="leave it out",
        )
    return table


def check_vocabularies(options: StatsOptions, names: Sequence[str]) -> None:
    """Refuse a vocabulary for a table that is not among those that are read.

    Raises:
        UsageError: `bad-option`.
    """
    for name in options.vocabularies:
        if name not in names:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                f"names {name!r}, of which no statistics are computed",
                where="--vocab",
                expected=f"one of {', '.join(names)}",
                hint="write --vocab TABLE=URI with the name of a table",
            )


def _when(snapshot: Snapshot) -> tuple[int | None, float | None]:
    """Step and wall time as the snapshot records them; the step else as its URI ends."""
    values = dict(_recorded(snapshot))
    step, walltime = values.get("extra_state/step"), values.get("extra_state/walltime")
    match = _LAST_NUMBER.search(snapshot.uri)
    named = int(match[1]) if match is not None else None
    return (step if type(step) is int else named), (float(walltime) if isinstance(walltime, int | float) else None)


def _recorded(snapshot: Snapshot) -> Iterator[tuple[str, object]]:
    for path in ("extra_state/step", "extra_state/walltime"):
        try:
            yield path, snapshot.value(path)
        except NotFoundError:
            continue

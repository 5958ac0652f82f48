"""What a plan fills in a live model: checked first, then filled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from torchrec import EmbeddingBagCollection

from embsnap.live.arrays import TensorRows
from embsnap.live.filling import Band, fill_band, putting_into
from embsnap.live.live_state import LiveOptimizer, initialize_states
from embsnap.live.lookup import check_lookup
from embsnap.live.parts import is_sharded
from embsnap.live.rank_reports import RankReport, report_of
from embsnap.live.state_fill import StateFill, numbered_states, plan_state_fill
from embsnap.live.tables import LiveTable, check_dtype, forget_cached_rows
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import Progress
from embsnap.model.rows import RowSource
from embsnap.ops.warmstart.fetching import Fetching
from embsnap.ops.warmstart.plan import WarmstartPlan
from embsnap.ops.warmstart.result import Lookup
from embsnap.ops.warmstart.state_rows import CarriedState, FoldedState
from embsnap.ops.warmstart.table import PlannedTable
from embsnap.ops.warmstart.tap import Tap

__all__ = ["Filled", "Target", "fill_targets", "find_targets"]

_CAST_ALIKE = ("float32", "float16", "bfloat16")
"""Rounded once, to nearest or even, on either."""


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """What a rank has to tell the others once its tables are filled."""

    report: RankReport
    lookups: tuple[Lookup, ...]
    notes: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One table and what it is filled from, checked."""

    table: LiveTable
    planned: PlannedTable
    state: StateFill


def find_targets(tables: Sequence[LiveTable], plan: WarmstartPlan, optimizer: LiveOptimizer | None) -> list[Target]:
    """Everything that is to be filled, nothing of it touched.

    Args:
        tables: Of the model, those of the plan.
        plan: Where their rows come from.
        optimizer: That trains the model; None for a model that is not trained further, whose rows alone are filled.

    Raises:
        IncompatibleError, UsageError: See `warm_start`.
    """
    planned = {table.name: table for table in plan.tables}
    for table in tables:
        check_dtype(table, planned[table.name].tap.dtype)
    if optimizer is None:
        return [Target(table, planned[table.name], StateFill(table)) for table in tables]
    with_state = [
        table for table in tables if planned[table.name].state_to_write or numbered_states(planned[table.name])
    ]
    initialize_states(optimizer.optimizer, with_state)
    return [
        Target(table, planned[table.name], plan_state_fill(table, planned[table.name], optimizer)) for table in tables
    ]


def fill_targets(targets: list[Target], plan: WarmstartPlan, block_bytes: int, progress: Progress) -> Filled:
    """Write the planned rows and optimizer state into this rank's parts of the tables, and check what a lookup gives.

    Args:
        targets: This rank's tables; all their checks are behind them.
        plan: Where the rows come from.
        block_bytes: How much is read at a time.
        progress: Told of every block.

    Raises:
        SnapshotError: An object is not what the metadata says, or was replaced meanwhile; rows may be written by then.
        StorageError: The storage failed.
        IncompatibleError: `cast-overflow`, or `lookup-mismatch`.
    """
    for collection in {id(target.table.collection): target.table.collection for target in targets}.values():
        forget_cached_rows(collection)
    for target in targets:
        _fill_table(target, plan, block_bytes, progress)
        _fill_state(target, plan, block_bytes, progress)
    plan.check_unchanged()
    lookups, notes = _check_lookups(targets, plan.threads_to(None))
    return Filled(
        report=report_of(plan),
        lookups=lookups,
        notes=(*(note for target in targets for note in target.state.notes), *notes),
    )


def _fill_table(target: Target, plan: WarmstartPlan, block_bytes: int, progress: Progress) -> None:
    """Fill a live table: block by block, or in the order of storage where rows would have to be fetched one by one."""
    tap, task = target.planned.tap, f"filling {target.table.name}"
    progress.start(task, sum(band.num_bytes for band in target.table.bands))
    for band in target.table.bands:
        if tap.is_swept and (band.spans(tap.dim) or not tap.with_norms):
            _sweep_band(band, tap, plan.options.threads, block_bytes, task, progress)
        else:
            fill_band(
                band,
                tap,
                threads=plan.threads_to(None),
                block_bytes=block_bytes,
                task=task,
                progress=progress,
                before_cast=_cast_on_device(band, tap),
            )
    progress.finish(task)


def _cast_on_device(band: Band, tap: Tap) -> RowSource | None:
    """The rows as they are stored, where the GPU that the band lies on can cast them as the CPU would."""
    rows = tap.before_cast if band.parts[0].tensor.device.type == "cuda" else None
    return rows if rows is not None and rows.dtype.name in _CAST_ALIKE else None


def _sweep_band(band: Band, tap: Tap, threads: int, block_bytes: int, task: str, progress: Progress) -> None:
    with putting_into(band, threads=threads, block_bytes=block_bytes, task=task, progress=progress) as put:
        tap.sweep(band.start, band.end, put, threads=threads, block_bytes=block_bytes)
    if band.spans(tap.dim):
        tap.add_norms(band.start, TensorRows(band.parts[0].tensor), block_bytes)


def _fill_state(target: Target, plan: WarmstartPlan, block_bytes: int, progress: Progress) -> None:
    task = f"filling the optimizer state of {target.table.name}"
    progress.start(task, sum(band.num_bytes for band, _ in target.state.carried))
    for band, source in target.state.carried:
        if isinstance(source, CarriedState) and source.is_swept:
            for part in band.parts:
                part.tensor.fill_(source.initial)
            with putting_into(
                band, threads=plan.options.threads, block_bytes=block_bytes, task=task, progress=progress
            ) as put:
                source.sweep(band.start, band.end, put)
            continue
        threads, staging = plan.threads_to(None), _staging(target, band, source)
        with nullcontext() if staging is None else staging:
            rows = replace(source, fetching=staging)
            fill_band(band, rows, threads=threads, block_bytes=block_bytes, task=task, progress=progress)
    target.state.fill_rest()
    progress.finish(task)


def _staging(target: Target, band: Band, source: CarriedState | FoldedState) -> Fetching | None:
    """Fetches what has to be put together of several places before it is asked for block by block."""
    old = target.planned.old
    if old is None or isinstance(source, CarriedState):
        return None
    return old.fetching(source.old, source.wanted(band.start, band.end), band.end - band.start)


def _check_lookups(targets: list[Target], threads: int) -> tuple[tuple[Lookup, ...], tuple[Finding, ...]]:
    """Compare a pooled lookup through each collection that lies on this rank alone with the source rows.

    Returns:
        What was looked up, and a note of each collection that torch cannot look up.
    """
    sources: dict[int, tuple[EmbeddingBagCollection, dict[str, RowSource]]] = {}
    for target in targets:
        collection = target.table.collection
        if isinstance(collection, EmbeddingBagCollection) and not is_sharded(target.table.weight):
            sources.setdefault(id(collection), (collection, {}))[1][target.table.name] = target.planned.rows
    lookups: list[Lookup] = []
    notes: list[Finding] = []
    for collection, rows in sources.values():
        found = check_lookup(collection, rows, threads=threads)
        lookups += found
        if not found:
            place, message = (
                f"tables {', '.join(rows)}",
                "no pooled lookup was compared: torch has none of weighted means",
            )
            notes.append(Finding(Severity.NOTE, "lookup-not-compared", place, message))
    return tuple(lookups), tuple(notes)

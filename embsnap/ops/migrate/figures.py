"""What a plan costs, and what is reported of it."""

from __future__ import annotations

from math import prod
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.assembly import PlacedArray
from embsnap.model.findings import Finding, Severity
from embsnap.model.manifest import ContainerEntry
from embsnap.model.migration import CastReport, MigratedTable, MigrationResult, UndoneStep
from embsnap.model.table import Sharding, Table
from embsnap.ops.migrate.draft import TableDraft
from embsnap.ops.migrate.nodes import RowNode
from embsnap.ops.migrate.output import state_path
from embsnap.ops.migrate.steps import describe

if TYPE_CHECKING:
    from embsnap.ops.migrate.plan import MigrationPlan

__all__ = ["bytes_read", "estimate", "report"]

_WRITE_BYTES_PER_S = 1e9
_SAMPLES = 4
_PART_BYTES = 1 << 16
"""Mapped, or read, at a time when one of its bytes is touched."""
_TRACE_ROWS = 1 << 20
_ENTITY_BYTES = 40
"""Most that an entity takes while vocabularies are joined."""


def bytes_read(node: RowNode) -> int:
    """Bytes of stored rows that all rows of a node are made of."""
    total = 0
    for start in range(0, node.num_rows, _TRACE_ROWS):
        rows_N = np.arange(start, min(start + _TRACE_ROWS, node.num_rows))
        total += sum(int((found_N >= 0).sum()) * leaf.row_bytes for leaf, found_N in node.leaves(rows_N))
    return total


def estimate(plan: MigrationPlan) -> float:
    """Seconds that a run should take, as long to plan as this plan took: a few blocks of each table are read, and the
    rest is reckoned from them."""
    seconds = 0.0
    for table in plan.changed():
        for node in (table.rows, *(state.rows for state in table.state)):
            for rows in _read_in_order(node) or [node]:
                seconds += _reading_seconds(rows, plan.budget.block_bytes)
    return plan.seconds + seconds / plan.options.threads + _num_bytes_to_write(plan) / _WRITE_BYTES_PER_S


def _read_in_order(node: RowNode) -> list[RowNode]:
    """Of what a node is made of, the stored rows in remote storage: they are fetched in order, wherever they move."""
    leaves = dict.fromkeys(leaf for leaf, _ in node.leaves(np.empty(0, np.int64)))
    return [leaf for leaf in leaves if not leaf.reader.is_mapped]


def _reading_seconds(node: RowNode, block_bytes: int) -> float:
    """A second reading tells what rows take, the first one what parts of objects take that are met for the first time:
    rows that move far meet most of them at once, and no further block will."""
    if not node.num_rows:
        return 0.0
    num_rows = max(1, min(node.num_rows, block_bytes // max(1, node.row_bytes)))
    starts = sorted({int(at) for at in np.linspace(0, max(0, node.num_rows - num_rows), _SAMPLES)})
    rows_ND = np.empty((num_rows, node.dim), node.dtype)
    node.read(0, 1, rows_ND[:1])  # opens the objects, and loads or compiles the kernels
    seconds = []
    for _ in range(2):
        began = perf_counter()
        for start in starts:
            node.read(start, start + num_rows, rows_ND)
        seconds.append(perf_counter() - began)
    sampled_N = np.concatenate([np.arange(start, start + num_rows) for start in starts])
    first_s, again_s = max(seconds), seconds[1]
    return again_s * node.num_rows / len(sampled_N) + (first_s - again_s) / _share_met(node, sampled_N)


def _share_met(node: RowNode, rows_N: NDArray[np.int64]) -> float:
    """Of the parts of objects that a node is made of, those that some of its rows need; above 0."""
    num_met = num_parts = 1
    for leaf, found_N in node.leaves(rows_N):
        num_met += len(np.unique(found_N[found_N >= 0] * leaf.row_bytes // _PART_BYTES))
        num_parts += -(-leaf.num_rows * leaf.row_bytes // _PART_BYTES)
    return min(1.0, num_met / num_parts)


def _num_bytes_to_write(plan: MigrationPlan) -> int:
    return sum(map(_num_bytes, plan.arrays())) + plan.num_kept_bytes


def _num_bytes(placed: PlacedArray) -> int:
    return prod(placed.array.shape) * placed.array.dtype.itemsize


def _peak_memory(plan: MigrationPlan) -> int:
    maps = sum(table.rows.num_rows * 8 for table in plan.changed())
    return maps + _ENTITY_BYTES * sum(map(_num_entities, plan.changed())) + plan.budget.row_bytes


def _num_entities(table: TableDraft) -> int:
    """By the fingerprint, `v1:<id type>:<N>:<digits>`; 0 where nobody has read the vocabulary."""
    parts = (table.entities.fingerprint or "").split(":") if table.entities is not None else []
    return int(parts[2]) if len(parts) == 4 and parts[2].isdecimal() else 0


def report(plan: MigrationPlan, estimated_s: float, *, applied: bool = False) -> MigrationResult:
    """What is said of a plan, before or after it was applied."""
    tables = plan.draft.tables.values()
    to_read = sum(
        bytes_read(node) for table in plan.changed() for node in (table.rows, *(state.rows for state in table.state))
    )
    kinds = [next(iter(describe(step))) for step in plan.steps]
    undo = tuple(
        UndoneStep(kind, (), found) if isinstance(found, str) else UndoneStep(kind, tuple(found), None)
        for kind, found in zip(kinds, plan.undos, strict=True)
    )
    return MigrationResult(
        source=plan.draft.source.uri,
        destination=None,
        applied=applied,
        tables=tuple(_table(table, applied=applied) for table in tables),
        dropped=_dropped(plan),
        world_size=plan.draft.world_size,
        num_kept_entries=sum(not isinstance(entry, ContainerEntry) for entry in plan.kept.values()),
        plan_digest=plan.digest,
        num_bytes_to_read=to_read + plan.num_kept_bytes + plan.context.num_planning_bytes,
        num_bytes_to_write=_num_bytes_to_write(plan),
        num_bytes_resumed=0,
        peak_memory_bytes=_peak_memory(plan),
        estimated_s=estimated_s,
        planning_seconds=plan.seconds,
        seconds=plan.seconds,
        undo=undo,
        findings=plan.findings,
        num_unchecked_rows=sum(each.num_unchecked_rows for each in plan.context.parents) if applied else None,
    )


def _dropped(plan: MigrationPlan) -> tuple[str, ...]:
    """Tables of the source of which no row is taken. What cannot be read is kept as it lies."""
    index, tables = plan.draft.source.index, plan.draft.tables.values()
    leaves = [leaf for table in tables for leaf, _ in table.rows.leaves(np.empty(0, np.int64))]
    taken = {id(array) for array in (*(t.origin.weight for t in tables), *(leaf.reader.array for leaf in leaves))}
    readable = {path: table for path, table in index.survey.items() if isinstance(table, Table)}
    return tuple(index.names[path] for path, table in readable.items() if id(table.weight) not in taken)


def _table(table: TableDraft, *, applied: bool) -> MigratedTable:
    casts = tuple(
        CastReport(to, errors.num_values, errors.num_overflows, errors.largest_error, errors.rms_error)
        for to, errors in (table.casts if applied else ())
    )
    states = [prod(state.shape) * state.dtype.itemsize for state in table.state]
    return MigratedTable(
        name=table.name,
        path=table.weight_path,
        num_embeddings=table.rows.num_rows,
        embedding_dim=table.rows.dim,
        dtype=table.dtype.name,
        copied=not table.is_changed,
        counts=dict(table.counts),
        optimizer_state=tuple(state_path(table, state) if table.is_changed else state.path for state in table.state),
        vocabulary=None if table.entities is None else table.entities.uri,
        num_bytes=table.rows.num_rows * table.rows.row_bytes + sum(states),
        casts=casts,
        repaired_rows=sum(tally.num_rows for tally in table.tallies) if table.tallies and applied else None,
        figures=dict(table.figures),
        findings=(*table.findings, *_of_placing(table)),
    )


def _of_placing(table: TableDraft) -> tuple[Finding, ...]:
    """A grid cannot be written: its rows are, or its columns."""
    if not table.is_changed or table.origin.sharding is not Sharding.GRID:
        return ()
    message = f"was cut by rows and columns, and is written {table.placement.kind.value}"
    remedy = "nothing is lost: whoever restores it places it anew; `shard` chooses another placing"
    return (Finding(Severity.NOTE, "grid-regrouped", f"table {table.name}", message, remedy),)

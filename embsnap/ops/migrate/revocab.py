"""The step that moves rows to where another vocabulary, or a row map, wants them.

Shape suffixes: V rows of the new table, N entities.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.config.migration_steps import RevocabStep
from embsnap.config.policies import OptimizerStatePolicy, ReservedPolicy
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, Entities, TableDraft
from embsnap.ops.migrate.drawn import RowKeys
from embsnap.ops.migrate.moving import Drawing, is_zeros, move_rows
from embsnap.ops.migrate.nodes import MappedRows, RowNode, ZeroRows
from embsnap.ops.migrate.undo import Applied, Undo
from embsnap.ops.vocabulary import align

__all__ = ["apply_revocab"]


def apply_revocab(step: RevocabStep, draft: Draft, context: Context) -> Applied:
    """Every row to where its entity is; new entities are drawn, dropped ones are left behind."""
    table = draft.table(step.table, context.where)
    if step.vocab is not None:
        moved, undo = _by_vocabulary(step, step.vocab, table, context)
    else:
        assert step.remap is not None
        moved, undo = _by_remap(step, step.remap, table, context)
    return Applied(draft.replacing(moved), undo)


def _by_vocabulary(step: RevocabStep, uri: str, table: TableDraft, context: Context) -> tuple[TableDraft, Undo]:
    old = context.entities_of(table)
    donor = step.initializer.donor if step.initializer is not None else None
    new = context.vocabulary(uri, step.columns, None if donor is None else donor.column)
    num_rows = step.rows or _rows_of(new)
    reserved = None if step.reserved is None else (step.reserved.start, step.reserved.end)
    row_map, findings = align(
        old,
        new,
        num_new_rows=num_rows,
        num_old_rows=table.rows.num_rows,
        reserved=reserved,
        threads=context.threads,
    )
    row_V = row_map.row_V
    num_reserved = _carry_reserved(step, row_V, row_map.new_rows_N, table, context)
    keys = RowKeys(row_map.new_rows_N, row_map.new_keys_N)
    fill = _fill(step, table, row_V, keys, context, old, new)
    moved = move_rows(table, row_V, fill, with_state=step.optimizer_state is OptimizerStatePolicy.CARRY)
    moved = moved.counting(
        carried=row_map.num_carried,
        new=row_map.num_new,
        dropped=row_map.num_dropped,
        reserved=num_reserved,
        unoccupied=row_map.num_unoccupied,  # reserved rows that were carried have a row by now
    )
    known = context.inputs[uri].split()[0]
    entities = Entities(uri, known, lambda: new, columns=step.columns)
    moved = replace(moved, entities=entities, findings=(*table.findings, *findings))
    return moved, _undo(table, row_map.num_dropped, step)


def _rows_of(vocabulary: Vocabulary) -> int:
    """Rows that a table for a vocabulary needs."""
    declared = vocabulary.declared.num_rows if vocabulary.declared is not None else None
    return max(declared or 0, int(vocabulary.rows_N.max()) + 1)


def _by_remap(step: RevocabStep, uri: str, table: TableDraft, context: Context) -> tuple[TableDraft, Undo]:
    assert step.rows is not None
    remap = context.remap(uri, num_new_rows=step.rows, num_old_rows=table.rows.num_rows)
    row_V = np.maximum(remap.row_V, -1)
    if not (row_V >= 0).any():
        raise IncompatibleError(
            ErrorKind.ZERO_OVERLAP,
            "no new row takes an old one",
            where=f"{context.where}, {uri}",
            expected=f"some rows of {table.name}",
            found="no old row at all",
            hint="check that the row map belongs to this table, and that old_row is filled",
        )
    num_reserved = _carry_reserved(step, row_V, np.empty(0, np.int64), table, context)
    old = context.entities_of(table) if table.entities is not None and step.initializer is not None else None
    fill = _fill(step, table, row_V, RowKeys.of(None), context, old, None)
    moved = move_rows(table, row_V, fill, with_state=step.optimizer_state is OptimizerStatePolicy.CARRY)
    num_carried = int((row_V >= 0).sum()) - num_reserved
    num_dropped = table.rows.num_rows - len(np.unique(row_V[row_V >= 0]))
    unfilled = len(row_V) - num_carried - num_reserved
    moved = moved.counting(carried=num_carried, dropped=num_dropped, reserved=num_reserved, unoccupied=unfilled)
    return replace(moved, entities=None, findings=(*table.findings, *remap.findings)), _undo(table, num_dropped, step)


def _fill(
    step: RevocabStep,
    table: TableDraft,
    row_V: NDArray[np.int64],
    keys: RowKeys,
    context: Context,
    old: Vocabulary | None,
    new: Vocabulary | None,
) -> RowNode:
    num_rows, rows = len(row_V), table.rows
    zeros = ZeroRows(num_rows, rows.dim, rows.dtype)
    if not table.dtype.is_floating and (is_zeros(step.initializer) or (row_V >= 0).all()):
        return zeros  # fused 8-bit rows are moved as they are, and zeros are zeros in any form
    drawn: RowNode = Drawing(table, step.initializer, num_rows, context, old).rows(keys, new)
    if step.reserved is None or step.reserved.policy is not ReservedPolicy.ZEROS:
        return drawn
    drawn_V = np.arange(num_rows)
    drawn_V[step.reserved.start : step.reserved.end] = -1
    return MappedRows(drawn, drawn_V, zeros)


def _carry_reserved(
    step: RevocabStep, row_V: NDArray[np.int64], new_rows_N: NDArray[np.int64], table: TableDraft, context: Context
) -> int:
    """Put reserved rows in their own places, where that is the policy; returns how many."""
    if step.reserved is None:
        return 0
    start, end = step.reserved.start, step.reserved.end
    first, last = np.searchsorted(new_rows_N, (start, end))
    held = [*(np.flatnonzero(row_V[start:end] >= 0) + start)[:3].tolist(), *new_rows_N[first:last][:3].tolist()]
    beyond = end > (table.rows.num_rows if step.reserved.policy is ReservedPolicy.CARRY else len(row_V))
    if held or beyond or end > len(row_V):
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            "reserved rows hold entities, or lie beyond the table",
            where=f"{context.where}, rows {start}:{end}",
            expected=f"no entity in them, below {min(table.rows.num_rows, len(row_V))}",
            found=f"entities in rows {', '.join(map(str, held))}" if held else f"rows up to {end}",
            hint="correct `reserved.rows`, or rebuild the vocabulary with these rows left free",
        )
    if step.reserved.policy is not ReservedPolicy.CARRY:
        return 0
    row_V[start:end] = np.arange(start, end)
    return end - start


def _undo(table: TableDraft, num_dropped: int, step: RevocabStep) -> Undo:
    if num_dropped:
        return f"{num_dropped:,} rows of {table.name} that the new vocabulary does not have are left behind"
    if table.entities is None or table.entities.uri is None or step.vocab is None:
        return f"nothing names the old places of the rows of {table.name}"
    if step.optimizer_state is OptimizerStatePolicy.RESET and table.state:
        return f"the optimizer state of {table.name} is left behind"
    back: dict[str, Any] = {"table": table.name, "vocab": table.entities.uri, "rows": table.rows.num_rows}
    if table.entities.columns is not None:
        back["columns"] = table.entities.columns.model_dump(exclude_none=True)
    if step.reserved is None:
        return [{"revocab": back}]
    if step.reserved.policy is not ReservedPolicy.CARRY:
        return f"the old rows {step.reserved.rows} of {table.name} are left behind"
    return [{"revocab": {**back, "reserved": {"rows": step.reserved.rows}}}]

"""Steps that change how many rows a table has: resize and prune.

Shape suffixes: V rows, N entities.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from embsnap.config.migration_steps import PruneStep, ResizeStep, ShrinkRule
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.reduce import row_norms
from embsnap.kernels.take import take_ids
from embsnap.model.vocabulary import Declared, Vocabulary
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, TableDraft
from embsnap.ops.migrate.drawn import RowKeys
from embsnap.ops.migrate.moving import Drawing, check_floating, is_zeros, move_rows
from embsnap.ops.migrate.nodes import RowNode
from embsnap.ops.migrate.undo import Applied, Undo

__all__ = ["apply_prune", "apply_resize", "taken_entities"]

_HINTS = {
    "count": "name it in a step before: vocab: {table: …, vocab: …, columns: {count: …}}",
    "last_seen": "it is found as last_seen, last_seen_at, last_seen_time or last_timestamp",
}
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def taken_entities(vocabulary: Vocabulary, indices_N: NDArray[np.int64], rows_N: NDArray[np.int64]) -> Vocabulary:
    """Some entities of a vocabulary, at other rows; what it declares about rows is gone."""
    return replace(
        vocabulary,
        ids=take_ids(vocabulary.ids, indices_N),
        rows_N=rows_N,
        counts_N=None if vocabulary.counts_N is None else vocabulary.counts_N[indices_N],
        last_seen_N=None if vocabulary.last_seen_N is None else vocabulary.last_seen_N[indices_N],
        donors=None,
        findings=(),
        declared=None,
    )


def apply_resize(step: ResizeStep, draft: Draft, context: Context) -> Applied:
    """Rows added at the end, or cut off there."""
    table = draft.table(step.table, context.where)
    before = table.rows.num_rows
    row_V = np.arange(step.rows)
    if step.rows >= before:
        row_V[before:] = -1
        fill: RowNode | None = None
        if table.dtype.is_floating or not is_zeros(step.initializer):
            fill = Drawing(table, step.initializer, step.rows, context).rows(RowKeys.of(None))  # they hold no entity
        moved = move_rows(table, row_V, fill).counting(added=step.rows - before)
        moved = _declaring(moved, context)
        undo: Undo = [{"resize": {"table": table.name, "rows": before, "shrink": "truncate"}}]
        return Applied(draft.replacing(moved), undo)
    moved = _shrunk(step, table, move_rows(table, row_V, None), context)
    moved = moved.counting(cut_off=before - step.rows)
    return Applied(draft.replacing(moved), f"{before - step.rows:,} rows of {table.name} are cut off")


def _shrunk(step: ResizeStep, table: TableDraft, moved: TableDraft, context: Context) -> TableDraft:
    if step.shrink is None:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "fewer rows lose those at the end",
            where=f"{context.where}, table {table.name}",
            expected=f"at least {table.rows.num_rows} rows, or a rule for what may be cut off",
            found=step.rows,
            hint="set shrink: unheld (no entity may be lost) or shrink: truncate",
        )
    if table.entities is None and step.shrink is ShrinkRule.TRUNCATE:
        return moved
    vocabulary = context.entities_of(table)
    inside_N = np.flatnonzero(vocabulary.rows_N < step.rows)
    num_lost = len(vocabulary) - len(inside_N)
    declared = vocabulary.declared or Declared()
    last = max((end for _, end in declared.special), default=0)
    if not num_lost and last <= step.rows:
        return _declaring(moved, context)
    if step.shrink is ShrinkRule.UNHELD:
        raise IncompatibleError(
            ErrorKind.ROW_OUT_OF_RANGE,
            f"{num_lost:,} entities hold rows that would be cut off"
            if num_lost
            else "rows that the vocabulary declares as reserved, or for unknown ids, would be cut off",
            where=f"{context.where}, table {table.name}",
            expected=f"no entity, and no declared row, in rows from {step.rows} on",
            found=f"one in row {int(vocabulary.rows_N.max()) if num_lost else last - 1}",
            hint="prune the table first, or set shrink: truncate",
        )
    kept = taken_entities(vocabulary, inside_N, vocabulary.rows_N[inside_N])
    kept = replace(kept, declared=_cut_off(declared, step.rows))
    return replace(moved, entities=context.made(kept)).counting(lost_entities=num_lost)


def _declaring(table: TableDraft, context: Context) -> TableDraft:
    """The table with as many rows declared as it has, where its vocabulary is still to be written."""
    if table.entities is None or not table.entities.is_made:
        return table
    made = table.entities.load()
    declared = _cut_off(made.declared or Declared(), table.rows.num_rows)
    return replace(table, entities=context.made(replace(made, declared=declared)))


def _cut_off(declared: Declared, num_rows: int) -> Declared:
    """What was said of the rows below `num_rows`."""

    def cut(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple((start, min(end, num_rows)) for start, end in ranges if start < num_rows)

    [oov] = cut(() if declared.oov is None else (declared.oov,)) or [None]
    return Declared(num_rows=num_rows, reserved=cut(declared.reserved), free=cut(declared.free), oov=oov)


def apply_prune(step: PruneStep, draft: Draft, context: Context) -> Applied:
    """Keep the entities that pass every rule; their rows, and declared special ones, move together in their order."""
    table = draft.table(step.table, context.where)
    vocabulary = context.entities_of(table)
    kept_N = np.flatnonzero(_passes(step, table, vocabulary, context))
    if not len(kept_N):
        raise IncompatibleError(
            ErrorKind.ZERO_OVERLAP,
            "no entity would be left",
            where=f"{context.where}, table {table.name}",
            expected="at least one entity that passes every rule",
            hint="loosen the rules",
        )
    special = vocabulary.declared.special if vocabulary.declared is not None else ()
    special = tuple((start, min(end, table.rows.num_rows)) for start, end in special if start < table.rows.num_rows)
    is_kept_V = np.zeros(table.rows.num_rows, np.bool_)
    is_kept_V[vocabulary.rows_N[kept_N]] = True
    for start, end in special:
        is_kept_V[start:end] = True
    row_V = np.flatnonzero(is_kept_V)
    place_V = np.cumsum(is_kept_V) - 1
    pruned = taken_entities(vocabulary, kept_N, place_V[vocabulary.rows_N[kept_N]])
    pruned = replace(pruned, declared=_declared(vocabulary, place_V, len(row_V)))
    moved = move_rows(table, row_V, None).counting(carried=len(kept_N), dropped=len(vocabulary) - len(kept_N))
    moved = replace(moved, entities=context.made(pruned))
    undo = f"{len(vocabulary) - len(kept_N):,} entities of {table.name} are left behind"
    return Applied(draft.replacing(moved), undo)


def _declared(vocabulary: Vocabulary, place_V: NDArray[np.int64], num_rows: int) -> Declared:
    """What the old vocabulary said of its rows, at their new places; special rows stay side by side."""
    old = vocabulary.declared or Declared()

    def moved(found: tuple[int, int]) -> tuple[int, int]:
        end = min(found[1], len(place_V))
        return int(place_V[found[0]]), int(place_V[end - 1]) + 1

    reserved = tuple(moved(found) for found in old.reserved if found[0] < len(place_V))
    oov = None if old.oov is None or old.oov[0] >= len(place_V) else moved(old.oov)
    return Declared(num_rows=num_rows, reserved=reserved, oov=oov)


def _passes(step: PruneStep, table: TableDraft, vocabulary: Vocabulary, context: Context) -> NDArray[np.bool_]:
    passes_N = np.ones(len(vocabulary), np.bool_)
    if step.min_count is not None or step.top is not None:
        counts_N = _column(vocabulary.counts_N, "count", vocabulary, context)
        if step.min_count is not None:
            passes_N &= counts_N >= step.min_count
        if step.top is not None:
            order = np.lexsort((vocabulary.rows_N, -counts_N))
            passes_N[order[step.top :]] = False
    if step.seen_since is not None:
        seen_N = _column(vocabulary.last_seen_N, "last_seen", vocabulary, context)
        passes_N &= seen_N >= _instant(step.seen_since, vocabulary, context)
    if step.min_norm is not None:
        passes_N &= _norms(table, context)[vocabulary.rows_N] >= step.min_norm
    return passes_N


def _column(column: NDArray[np.int64] | None, name: str, vocabulary: Vocabulary, context: Context) -> NDArray[np.int64]:
    if column is None:
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            f"the vocabulary has no column {name}",
            where=f"{context.where}, {vocabulary.uri}",
            expected=f"a column {name}",
            hint=_HINTS[name],
        )
    return column


def _instant(value: int | str, vocabulary: Vocabulary, context: Context) -> int:
    """`seen_since` in the unit of the vocabulary's column."""
    kind = vocabulary.last_seen_type
    if isinstance(value, str) and kind != "int64":
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None:
            unit = _UNITS[kind.removeprefix("timestamp[").rstrip("]").split(",")[0]]
            delta = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
            return (delta.days * 86_400 + delta.seconds) * unit + delta.microseconds * unit // 1_000_000
    if isinstance(value, int) and kind == "int64":
        return value
    raise IncompatibleError(
        ErrorKind.BAD_VOCABULARY,
        f"last_seen is of type {kind}",
        where=f"{context.where}, seen_since",
        expected="an integer" if kind == "int64" else "a date or time such as 2024-05-01 or 2024-05-01T12:00:00",
        found=repr(value),
    )


def _norms(table: TableDraft, context: Context) -> NDArray[np.float64]:
    """Norm of every row: one pass over the table as it is at this step."""
    check_floating(table, context)
    rows = table.rows
    norms_V = np.empty(rows.num_rows)
    step = max(1, context.block_bytes // max(1, rows.row_bytes))
    for start in range(0, rows.num_rows, step):
        end = min(start + step, rows.num_rows)
        rows_ND = np.empty((end - start, rows.dim), rows.dtype)
        rows.read(start, end, rows_ND)
        norms_V[start:end] = row_norms(rows_ND)
    context.num_planning_bytes += rows.num_rows * rows.row_bytes
    return norms_V

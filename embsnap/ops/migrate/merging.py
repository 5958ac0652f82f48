"""The step that makes one table of several.

Shape suffixes: K tables, N entities of one of them, V rows of the merged table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embsnap.config.migration_steps import ConflictRule, MergeStep
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.id_arrays import concat_ids
from embsnap.kernels.join import join
from embsnap.kernels.take import take_ids
from embsnap.model.paths import last_segment
from embsnap.model.table import StateLayout
from embsnap.model.vocabulary import NEVER_SEEN, Declared, Ids, Vocabulary
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, StateDraft, TableDraft
from embsnap.ops.migrate.drawn import RowKeys
from embsnap.ops.migrate.merged import MergedRows
from embsnap.ops.migrate.moving import Drawing, check_floating
from embsnap.ops.migrate.naming import check_free, renamed
from embsnap.ops.migrate.nodes import RowNode, ZeroRows
from embsnap.ops.migrate.undo import Applied
from embsnap.ops.vocabulary import check_vocabulary
from embsnap.ops.vocabulary_findings import ROW_GAPS, entity_text, refuse_errors

__all__ = ["apply_merge"]


@dataclass(frozen=True, slots=True, eq=False)
class _Union:
    """The entities of all tables, numbered anew: those of the first in the order of its rows, then what is new."""

    vocabulary: Vocabulary
    row_KV: NDArray[np.int64]
    """Row in each table, or -1."""
    count_KV: NDArray[np.int64] | None
    seen_KV: NDArray[np.int64] | None

    @property
    def several_V(self) -> NDArray[np.int64]:
        """Rows whose entity is in more than one table."""
        return np.flatnonzero((self.row_KV >= 0).sum(axis=0) > 1)


def apply_merge(step: MergeStep, draft: Draft, context: Context) -> Applied:
    """The union of the tables' entities; what several have by the rule for conflicts."""
    tables = [draft.table(name, context.where) for name in step.tables]
    if step.into not in step.tables:
        check_free(step.into, draft, context)
    _check_alike(tables, context)
    union = _union([_checked(table, context) for table in tables], context)
    num_entities, num_rows = len(union.vocabulary), step.rows or len(union.vocabulary)
    if num_rows < num_entities:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "the merged table has too few rows",
            where=f"{context.where}, rows",
            expected=f"at least {num_entities}, its entities",
            found=num_rows,
        )
    row_KV, weight_KV = _chosen(step.conflict, union, context)
    added = num_rows - num_entities
    row_KV = np.pad(row_KV, ((0, 0), (0, added)), constant_values=-1)
    weight_KV = None if weight_KV is None else np.pad(weight_KV, ((0, 0), (0, added)))
    fill: RowNode = ZeroRows(num_rows, tables[0].rows.dim, tables[0].rows.dtype)
    if added:
        fill = Drawing(tables[0], step.initializer, num_rows, context).rows(RowKeys.of(None))
    rows = MergedRows([table.rows for table in tables], row_KV, weight_KV, fill)
    vocabulary = replace(union.vocabulary, declared=Declared(num_rows=num_rows))
    state = _merged_state(tables, row_KV, weight_KV, context)
    merged = replace(tables[0].with_rows(rows, state), counts={}, casts=(), figures={})
    merged = replace(renamed(merged, step.into), entities=context.made(vocabulary))
    num_several = len(union.several_V)
    merged = merged.counting(carried=num_entities - num_several, merged=num_several, unoccupied=added)
    result = draft.without(step.tables[1:]).replacing(merged, step.tables[0])
    return Applied(result, f"which rows of {step.into} came from which table is not kept")


def _check_alike(tables: Sequence[TableDraft], context: Context) -> None:
    first = tables[0]
    check_floating(first, context)
    for other in tables[1:]:
        pairs = [
            ("embedding_dim", first.rows.dim, other.rows.dim),
            ("dtype", first.dtype.name, other.dtype.name),
            ("optimizer state", _state_names(first), _state_names(other)),
        ]
        for what, expected, found in pairs:
            if expected != found:
                raise IncompatibleError(
                    ErrorKind.SHAPE_MISMATCH,
                    f"tables of another {what} cannot be merged",
                    where=f"{context.where}, table {other.name}",
                    expected=f"{expected or 'none'}, as {first.name} has",
                    found=found or "none",
                    hint="make them alike in steps before: dim, cast, or optimizer_state with form: drop",
                )


def _state_name(table: TableDraft, state: StateDraft) -> str:
    return last_segment(state.path).removeprefix(f"{table.origin.name}.")


def _state_names(table: TableDraft) -> str:
    return ", ".join(
        sorted(f"{_state_name(table, state)} {state.layout.value} {state.dtype.name}" for state in table.state)
    )


def _checked(table: TableDraft, context: Context) -> Vocabulary:
    vocabulary = context.entities_of(table)
    findings = check_vocabulary(vocabulary, table.rows.num_rows, threads=context.threads)
    refuse_errors(finding for finding in findings if finding.kind != ROW_GAPS)
    return vocabulary


_Places = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""For each vocabulary its entities in the order of their rows, and where each of them is in the union."""


def _union(vocabularies: Sequence[Vocabulary], context: Context) -> _Union:
    _check_id_types(vocabularies, context)
    ids, num, places = _united(vocabularies, context)
    rows = [v.rows_N for v in vocabularies]
    same_time = len({v.last_seen_type for v in vocabularies}) == 1
    row_KV = _by_table(rows, places, num, -1)
    assert row_KV is not None
    count_KV = _by_table([v.counts_N for v in vocabularies], places, num, 0)
    seen_KV = _by_table([v.last_seen_N for v in vocabularies], places, num, NEVER_SEEN) if same_time else None
    merged = Vocabulary(
        uri=context.where,
        id_type=vocabularies[0].id_type,
        ids=ids,
        rows_N=np.arange(num),
        counts_N=None if count_KV is None else count_KV.sum(axis=0),
        last_seen_N=None if seen_KV is None else seen_KV.max(axis=0),
        last_seen_type=vocabularies[0].last_seen_type,
    )
    return _Union(merged, row_KV, count_KV, seen_KV)


def _check_id_types(vocabularies: Sequence[Vocabulary], context: Context) -> None:
    first = vocabularies[0]
    for other in vocabularies[1:]:
        if other.id_type is not first.id_type:
            raise IncompatibleError(
                ErrorKind.ID_TYPE_MISMATCH,
                "the vocabularies have ids of different types",
                where=f"{context.where}, {other.uri}",
                expected=f"{first.id_type} ids as in {first.uri}",
                found=f"{other.id_type} ids",
            )


def _united(vocabularies: Sequence[Vocabulary], context: Context) -> tuple[Ids, int, _Places]:
    first = vocabularies[0]
    ids, num = take_ids(first.ids, np.argsort(first.rows_N, kind="stable")), len(first)
    places: _Places = []
    for vocabulary in vocabularies:
        order = np.argsort(vocabulary.rows_N, kind="stable")
        own = take_ids(vocabulary.ids, order)
        at_N = join(ids, np.arange(num), own, np.arange(len(own)), len(own), threads=context.threads).row_V
        new_N = np.flatnonzero(at_N < 0)
        at_N[new_N] = num + np.arange(len(new_N))
        ids, num = concat_ids([ids, take_ids(own, new_N)]), num + len(new_N)
        places.append((order, at_N))
    return ids, num, places


def _by_table(
    columns: Sequence[NDArray[np.int64] | None], places: _Places, num: int, otherwise: int
) -> NDArray[np.int64] | None:
    """`int64[K, V]`: each vocabulary's column at the rows of the union; None unless all have it."""
    spread_KV = np.full((len(columns), num), otherwise, np.int64)
    for number, (column_N, (order, at_N)) in enumerate(zip(columns, places, strict=True)):
        if column_N is None:
            return None
        spread_KV[number, at_N] = column_N[order]
    return spread_KV


def _chosen(
    rule: ConflictRule, union: _Union, context: Context
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Rows and weights of each table, after the rule for what several have."""
    several = union.several_V
    if rule is ConflictRule.REFUSE and len(several):
        examples = ", ".join(entity_text(union.vocabulary, int(i)) for i in several[:3])
        raise IncompatibleError(
            ErrorKind.CONFLICTING_ENTITIES,
            f"{len(several):,} entities are in several of the tables",
            where=context.where,
            expected="each entity in one table",
            found=examples,
            hint="set conflict: mean, count, newest or priority",
        )
    row_KV = union.row_KV
    if rule in (ConflictRule.MEAN, ConflictRule.COUNT):
        weight_KV = (row_KV >= 0).astype(np.float64)
        if rule is ConflictRule.COUNT:
            counts_KV = _known(union.count_KV, "count", rule, context).astype(np.float64)
            total_V = np.where(row_KV >= 0, counts_KV, 0).sum(axis=0)
            weight_KV = np.where(total_V > 0, np.where(row_KV >= 0, counts_KV, 0), weight_KV)
        return row_KV, weight_KV
    chosen_V = np.argmax(row_KV >= 0, axis=0)
    if rule is ConflictRule.NEWEST:
        seen_KV = _known(union.seen_KV, "last_seen", rule, context)
        newest_V = np.where(row_KV >= 0, seen_KV, NEVER_SEEN).max(axis=0)
        chosen_V = np.argmax((row_KV >= 0) & (seen_KV == newest_V), axis=0)
    is_chosen_KV = np.arange(len(row_KV))[:, None] == chosen_V
    return np.where(is_chosen_KV, row_KV, -1), None


def _known(column: NDArray[np.int64] | None, name: str, rule: ConflictRule, context: Context) -> NDArray[np.int64]:
    if column is None:
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            f"conflict: {rule.value} asks every vocabulary for a column {name}, of one type",
            where=context.where,
            expected=f"a column {name}",
            found="not in all of them",
        )
    return column


def _merged_state(
    tables: Sequence[TableDraft],
    row_KV: NDArray[np.int64],
    weight_KV: NDArray[np.float64] | None,
    context: Context,
) -> list[StateDraft]:
    merged = []
    by_name = [{_state_name(table, state): state for state in table.state} for table in tables]
    for name, state in by_name[0].items():
        if state.layout is StateLayout.SINGLE:
            merged.append(state)
            continue
        if state.layout is StateLayout.OTHER:
            problem = "an optimizer state cannot follow the rows"
            hint = "put a step before it: optimizer_state with form: drop"
            where = f"{context.where}, {state.path}"
            raise UsageError(ErrorKind.BAD_OPTION, problem, where=where, hint=hint)
        sources = [states[name].rows for states in by_name]
        fill = ZeroRows(row_KV.shape[1], state.rows.dim, state.rows.dtype)
        merged.append(replace(state, rows=MergedRows(sources, row_KV, weight_KV, fill)))
    return merged

"""The step that replaces broken rows.

Shape suffixes: V rows, N rows in hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.config.migration_steps import RepairStep
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.reduce import row_norms
from embsnap.model.table import StateLayout
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, StateDraft, TableDraft
from embsnap.ops.migrate.drawn import RowKeys
from embsnap.ops.migrate.moving import Drawing, check_floating
from embsnap.ops.migrate.nodes import MappedRows, RowNode, StoredRows, ZeroRows
from embsnap.ops.migrate.tallies import Tally
from embsnap.ops.migrate.undo import Applied
from embsnap.ops.vocabulary import align

__all__ = ["RepairedRows", "apply_repair"]

_TRACE_ROWS = 1 << 20


class RepairedRows(RowNode):
    """Rows of one node, but those of a second where the first's are broken."""

    def __init__(
        self, inner: RowNode, replacement: RowNode, max_norm: float | None, tally: Tally | None = None
    ) -> None:
        """A row is broken that holds NaN or an infinity, or is longer than `max_norm`."""
        self.inner, self.replacement, self.max_norm, self.tally = inner, replacement, max_norm, tally
        self.num_rows, self.dim, self.dtype = inner.num_rows, inner.dim, inner.dtype

    def gather(self, rows_N: NDArray[np.int64], out_ND: NDArray[Any]) -> None:
        """Look at each row, and replace it where it is broken."""
        self.inner.gather(rows_N, out_ND)
        broken_N = self._is_broken(out_ND) & (rows_N >= 0)
        if broken_N.any():
            self.replacement.gather(np.where(broken_N, rows_N, -1), out_ND)
            if self.tally is not None:
                self.tally.add(rows_N[broken_N])

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """The same for a range."""
        self.inner.read(start, end, out_ND)
        broken = np.flatnonzero(self._is_broken(out_ND))
        if len(broken):
            rows_N = np.full(end - start, -1)
            rows_N[broken] = broken + start
            self.replacement.gather(rows_N, out_ND)
            if self.tally is not None:
                self.tally.add(broken + start)

    def _is_broken(self, rows_ND: NDArray[Any]) -> NDArray[np.bool_]:
        with np.errstate(over="ignore", invalid="ignore"):
            norms_N = row_norms(rows_ND)  # float64: only NaN and infinities make it overflow, or values beyond 1e154
        suspect = np.flatnonzero(~np.isfinite(norms_N))
        broken_N = np.zeros(len(rows_ND), np.bool_)
        broken_N[suspect] = ~np.isfinite(rows_ND[suspect].astype(np.float64)).all(axis=1)
        return broken_N if self.max_norm is None else broken_N | (norms_N > self.max_norm)

    def leaves(self, rows_N: NDArray[np.int64]) -> Iterator[tuple[StoredRows, NDArray[np.int64]]]:
        """Of the rows themselves: which will have to be replaced nobody knows before."""
        return self.inner.leaves(rows_N)


def apply_repair(step: RepairStep, draft: Draft, context: Context) -> Applied:
    """Replace broken rows by a donor's, or draw them; broken optimizer state becomes zero."""
    for name in step.tables:
        table = draft.table(name, context.where)
        check_floating(table, context)
        num_rows = table.rows.num_rows
        drawing = Drawing(table, step.initializer, num_rows, context, among_N=_sound_rows(table, step, context))
        vocabulary = context.entities_of(table) if table.entities is not None else None
        drawn: RowNode = drawing.rows(RowKeys.of(vocabulary, threads=context.threads))
        replacement, tally = drawn, Tally(num_rows)
        if step.donor is not None:
            donor = _donor(step, step.donor, table, drawn, context)
            replacement = RepairedRows(donor, drawn, step.max_norm)
        rows = RepairedRows(table.rows, replacement, step.max_norm, tally)
        repaired = table.with_rows(rows, [_state(state) for state in table.state])
        draft = draft.replacing(replace(repaired, tallies=(*table.tallies, tally)))
    return Applied(draft, "the broken rows are not kept")


def _sound_rows(table: TableDraft, step: RepairStep, context: Context) -> NDArray[np.int64] | None:
    """The rows that a mean may be of, by one pass over the table; None where the initializer asks for no mean."""
    if step.initializer is None or step.initializer.kind not in ("mean", "mean_covariance"):
        return None
    rows, tally = table.rows, Tally(table.rows.num_rows)
    looked_at = RepairedRows(rows, ZeroRows(rows.num_rows, rows.dim, rows.dtype), step.max_norm, tally)
    at_a_time = max(1, context.block_bytes // max(1, rows.row_bytes))
    for start in range(0, rows.num_rows, at_a_time):
        end = min(start + at_a_time, rows.num_rows)
        looked_at.read(start, end, np.empty((end - start, rows.dim), rows.dtype))
    context.num_planning_bytes += rows.num_rows * rows.row_bytes
    return tally.others()


def _state(state: StateDraft) -> StateDraft:
    if state.layout in (StateLayout.SINGLE, StateLayout.OTHER) or not state.dtype.is_floating:
        return state
    zeros = ZeroRows(state.rows.num_rows, state.rows.dim, state.rows.dtype)
    return replace(state, rows=RepairedRows(state.rows, zeros, None))


def _donor(step: RepairStep, uri: str, table: TableDraft, drawn: RowNode, context: Context) -> RowNode:
    """Rows of the donor at the places of this table's rows, drawn where it has none."""
    snapshot = context.snapshot(uri)
    found = snapshot.table(table.origin.name, with_state=False)
    donor = StoredRows(snapshot.reader(found.weight))
    if (donor.dim, donor.dtype) != (table.rows.dim, table.rows.dtype):
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "the donor's rows are of another kind",
            where=f"{context.where}, {found.name} of {uri}",
            expected=f"{table.rows.dim} columns of {table.dtype}",
            found=f"{donor.dim} columns of {found.weight.dtype}",
            hint="repair before the steps that change width or type",
        )
    recorded = snapshot.sidecar.tables.get(found.name) if snapshot.sidecar is not None else None
    donor_vocab = step.donor_vocab or (None if recorded is None else recorded.uri)
    if donor_vocab is not None and table.entities is not None:
        expected = None if recorded is None or step.donor_vocab is not None else recorded.fingerprint
        old = context.recorded(donor_vocab, expected).load()
        own = context.entities_of(table)
        row_map, _ = align(
            old, own, num_new_rows=table.rows.num_rows, num_old_rows=donor.num_rows, threads=context.threads
        )
        return MappedRows(donor, row_map.row_V, drawn)
    if donor.num_rows != table.rows.num_rows:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "rows can be taken by position only from a table of as many rows",
            where=f"{context.where}, {found.name} of {uri}",
            expected=table.rows.num_rows,
            found=donor.num_rows,
            hint="name the vocabularies of both: a step vocab, and donor_vocab",
        )
    if _is_moved(table):
        raise IncompatibleError(
            ErrorKind.NO_VOCABULARY,
            "rows that a step before has moved cannot be replaced by position",
            where=f"{context.where}, table {table.name}",
            expected="the vocabularies of both",
            found="not both",
            hint="name donor_vocab, or repair in a step before the rows move",
        )
    return donor


def _is_moved(table: TableDraft) -> bool:
    """Whether stored rows lie elsewhere by now."""
    for start in range(0, table.rows.num_rows, _TRACE_ROWS):
        rows_N = np.arange(start, min(start + _TRACE_ROWS, table.rows.num_rows))
        if any(((found_N >= 0) & (found_N != rows_N)).any() for _, found_N in table.rows.leaves(rows_N)):
            return True
    return False

"""From drafted tables to arrays with a path, a form and parts on ranks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embsnap.config.migration_steps import Placing, StateForm
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.torchsnapshot.assembly import Part, PlacedArray
from embsnap.formats.torchsnapshot.contents import ArrayToWrite
from embsnap.model.paths import escape, moved_parameter
from embsnap.model.progress import Progress
from embsnap.model.rows import RowSource
from embsnap.model.table import StateLayout
from embsnap.ops.migrate.draft import Placement, StateDraft, TableDraft
from embsnap.ops.migrate.nodes import RowNode

__all__ = ["Reported", "check_state", "reads", "state_path", "table_arrays"]


def table_arrays(table: TableDraft, progress: Progress) -> Iterator[PlacedArray]:
    """Weight and states of a changed table."""
    weight = Reported(table.rows, f"table {table.name}", progress)
    array = ArrayToWrite(table.weight_path, table.dtype, (table.rows.num_rows, table.rows.dim), weight, "sharded")
    yield PlacedArray(array, tuple(_parts(weight, table.placement)))
    form: Literal["sharded", "tensor"] = "sharded" if table.state_form is StateForm.SHARDED else "tensor"
    for state in table.state:
        path = state_path(table, state)
        if state.layout is StateLayout.SINGLE or form == "tensor":
            whole = ArrayToWrite(path, state.dtype, state.shape, state.rows, "tensor")
            yield PlacedArray(whole, (Part(0, 0, 0, state.rows),))
        else:
            sharded = ArrayToWrite(path, state.dtype, state.shape, state.rows, "sharded")
            yield PlacedArray(sharded, tuple(_parts(state.rows, _placement_of(state, table.placement))))


def reads(table: TableDraft) -> Iterator[tuple[RowNode, int]]:
    """The rows of weight and states of a changed table, and how often each is read: once for each cut of columns."""
    weight_parts = len(list(_parts(table.rows, table.placement)))
    is_cut = table.placement.kind is Placing.COLUMN_WISE
    yield table.rows, weight_parts if is_cut else 1
    for state in table.state:
        placement = _placement_of(state, table.placement)
        is_cut = placement.kind is Placing.COLUMN_WISE and table.state_form is StateForm.SHARDED
        yield state.rows, len(list(_parts(state.rows, placement))) if is_cut else 1


def check_state(table: TableDraft) -> None:
    """Refuse to write a changed table anew beside state that has no rows, and so cannot be written anew itself.

    Raises:
        IncompatibleError: `shape-mismatch`.
    """
    for state in table.state:
        if len(state.shape) > 2 and table.is_changed:
            raise IncompatibleError(
                ErrorKind.SHAPE_MISMATCH,
                "an optimizer state of more than two dimensions cannot be written beside a table that is changed",
                where=f"table {table.name}, {state.path}",
                expected="a single value, one for each row, or one for each element",
                found=f"shape {list(state.shape)}",
                hint=f"drop it in a step: optimizer_state: {{form: drop, tables: {table.name}}}",
            )


def state_path(table: TableDraft, state: StateDraft) -> str:
    """Where a state of the table is to lie: its old path with the weight's key and the table's name exchanged."""
    head, _, state_key = state.path.rpartition("/")
    head, _, parameter = head.rpartition("/")
    old_key = table.origin.weight.path.partition("/")[2]
    new_key = table.weight_path.partition("/")[2]
    parameter = moved_parameter(parameter, old_key, new_key)
    old_name = f"{escape(table.origin.name)}."
    if state_key.startswith(old_name):
        state_key = f"{escape(table.name)}.{state_key[len(old_name) :]}"
    return f"{head}/{parameter}/{state_key}"


def _placement_of(state: StateDraft, placement: Placement) -> Placement:
    """Row-wise state of a column-wise table has no columns to cut."""
    if placement.kind is Placing.COLUMN_WISE and state.layout is not StateLayout.ELEMENT_WISE:
        return Placement(Placing.TABLE_WISE, placement.ranks[:1])
    return placement


def _parts(rows: RowNode | Reported, placement: Placement) -> Iterator[Part]:
    """As torchrec cuts: equal blocks, of which the last may be short or missing."""
    if placement.kind is Placing.TABLE_WISE:
        yield Part(placement.ranks[0], 0, 0, rows)
        return
    total = rows.num_rows if placement.kind is Placing.ROW_WISE else rows.dim
    block = max(1, -(-total // len(placement.ranks)))
    for number, rank in enumerate(placement.ranks):
        start, end = number * block, min((number + 1) * block, total)
        if end > start and placement.kind is Placing.ROW_WISE:
            yield Part(rank, start, 0, _Slice(rows, (start, end), (0, rows.dim)))
        elif end > start:
            yield Part(rank, 0, start, _Slice(rows, (0, rows.num_rows), (start, end)))
    if not total:
        yield Part(placement.ranks[0], 0, 0, rows)


class _Slice:
    """A rectangle of rows and columns of a source."""

    def __init__(self, inner: RowSource, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        self._inner, self._start, self._columns = inner, rows[0], slice(*columns)
        self.num_rows, self.dim, self.dtype = rows[1] - rows[0], columns[1] - columns[0], inner.dtype

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Rows of the slice."""
        if self.dim == self._inner.dim:
            self._inner.read(self._start + start, self._start + end, out_ND)
            return
        rows_ND = np.empty((end - start, self._inner.dim), self.dtype)
        self._inner.read(self._start + start, self._start + end, rows_ND)
        out_ND[...] = rows_ND[:, self._columns]


class Reported:
    """Passes a table's rows through, and tells an observer of them: from the first that is asked for to the last."""

    def __init__(self, inner: RowNode, task: str, progress: Progress) -> None:
        self._inner, self._task, self._progress = inner, task, progress
        self.num_rows, self.dim, self.dtype = inner.num_rows, inner.dim, inner.dtype
        self._left: int | None = None
        self._lock = threading.Lock()

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Rows of the table."""
        with self._lock:
            if self._left is None:
                self._left = self.num_rows * self._inner.row_bytes
                self._progress.start(self._task, self._left)
        self._inner.read(start, end, out_ND)
        with self._lock:
            if self._left:
                self._progress.advance(self._task, out_ND.nbytes)
                self._left -= out_ND.nbytes
                if self._left <= 0:
                    self._finish()

    def close(self) -> None:
        """No more is read."""
        with self._lock:
            if self._left:
                self._finish()

    def _finish(self) -> None:
        self._left = 0
        self._progress.finish(self._task)

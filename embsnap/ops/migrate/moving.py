"""Rows of a table, and its optimizer state with them, in other places.

Shape suffixes: V rows of the new table, N entities.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embsnap.config.embedding import EmbeddingBagConfig
from embsnap.config.initializer import InitializerConfig
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.model.table import StateLayout
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import StateDraft, TableDraft
from embsnap.ops.migrate.drawn import DrawnRows, RowKeys
from embsnap.ops.migrate.nodes import MappedRows, RowNode
from embsnap.ops.warmstart.donors import donor_row, donor_rows, needs_occupied_rows
from embsnap.ops.warmstart.initial_rows import InitialRows, OldRows, resolve_initializer

__all__ = ["Drawing", "check_floating", "is_zeros", "move_rows", "moved_state"]


def move_rows(
    table: TableDraft, row_V: NDArray[np.int64], fill: RowNode | None, *, with_state: bool = True
) -> TableDraft:
    """The table with row `row_V[i]` as row i, and rows of `fill` where that is negative; state is zero there.

    Raises:
        IncompatibleError: `shape-mismatch`: an optimizer state cannot follow the rows.
    """
    state = [moved_state(table, found, row_V) for found in table.state] if with_state else []
    return table.with_rows(MappedRows(table.rows, row_V, fill), state)


def moved_state(table: TableDraft, state: StateDraft, row_V: NDArray[np.int64]) -> StateDraft:
    """One state, following the rows; a single value stays."""
    if state.layout is StateLayout.SINGLE:
        return state
    if state.layout is StateLayout.OTHER:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "an optimizer state cannot follow the rows",
            where=f"table {table.name}, {state.path}",
            expected=f"one value per row, or per element, of {table.rows.num_rows} rows",
            found=f"shape {list(state.tail)}",
            hint=f"put a step before it: optimizer_state: {{form: drop, tables: {table.name}}}",
        )
    return replace(state, rows=MappedRows(state.rows, row_V))


def check_floating(table: TableDraft, context: Context) -> None:
    """Refuse to compute with rows that are no numbers of their own.

    Raises:
        IncompatibleError: `dtype-mismatch`.
    """
    if not table.dtype.is_floating:
        raise IncompatibleError(
            ErrorKind.DTYPE_MISMATCH,
            "its values cannot be computed with",
            where=f"{context.where}, table {table.name}",
            expected="a floating-point type",
            found=table.dtype.name,
            hint="cast fused 8-bit rows to fp32 in a step before it, and back after it",
        )


def is_zeros(initializer: InitializerConfig | None) -> bool:
    """Whether it draws nothing but zeros."""
    return initializer is not None and initializer.kind == "zeros"


class Drawing:
    """How the new rows of a table are drawn: its initializer, resolved against the rows that it has."""

    def __init__(
        self,
        table: TableDraft,
        initializer: InitializerConfig | None,
        num_rows: int,
        context: Context,
        old: Vocabulary | None = None,
        among_N: NDArray[np.int64] | None = None,
    ) -> None:
        """`old` is the table's vocabulary, where the initializer may ask for it; means are of the rows `among_N`, or of
        those that an entity of `old` holds.
        """
        check_floating(table, context)
        self._table, self._num_rows, self._threads = table, num_rows, context.threads
        self.config = EmbeddingBagConfig(
            name="table",
            num_embeddings=max(1, num_rows),
            embedding_dim=table.rows.dim,
            initializer=None,
        ).model_copy(update={"name": table.name, "initializer": initializer})
        if self.wants_vocabulary and old is None:
            old = context.entities_of(table)
        self._old = old
        if initializer is not None and initializer.kind in ("mean", "mean_covariance"):
            context.num_planning_bytes += table.rows.num_rows * table.rows.row_bytes
        occupied_N = old.rows_N if among_N is None and old is not None and needs_occupied_rows(self.config) else among_N
        donor = None if old is None else donor_row(self.config, old)
        self.initial: InitialRows = resolve_initializer(
            self.config, OldRows(table.rows, f"{context.where}, table {table.name}", occupied_N, donor)
        )

    @property
    def wants_vocabulary(self) -> bool:
        """Whether the initializer names entities."""
        return self.config.initializer is not None and self.config.initializer.donor is not None

    @property
    def donor_column(self) -> str | None:
        """Column of the new vocabulary that names donors."""
        initializer = self.config.initializer
        return initializer.donor.column if initializer is not None and initializer.donor is not None else None

    def rows(self, keys: RowKeys, new: Vocabulary | None = None) -> DrawnRows:
        """The rows, for entities and indices by `keys`; of a donor where `new` names one."""
        donors = None
        if self.donor_column is not None and self._old is not None and new is not None:
            donor_N = donor_rows(self._old, new, keys.rows_M, self._num_rows, self._threads)
            donors = None if donor_N is None else (self._table.rows, donor_N)
        rows = self._table.rows
        return DrawnRows(self.initial, keys, self._num_rows, rows.dim, rows.dtype, donors)

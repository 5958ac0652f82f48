"""The optimizer state of one new table."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from embsnap.config.embedding import EmbeddingBagConfig, OptimizerStatePolicy
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.dtypes import to_numpy
from embsnap.formats.torchsnapshot.writer import ArrayToWrite
from embsnap.model.table import StateLayout, TableState
from embsnap.ops.warmstart.paths import renamed_state_path
from embsnap.ops.warmstart.rows import CarriedState, FoldedState
from embsnap.ops.warmstart.sources import OldTable
from embsnap.ops.warmstart.table_mapping import TableMapping

__all__ = ["OptimizerStateForm", "carries_state", "plan_state"]


class OptimizerStateForm(StrEnum):
    """How optimizer state is written."""

    TENSOR = "tensor"
    """Plain tensors: torchsnapshot 0.1.0 can still restore the weights beside them."""
    SHARDED = "sharded"
    """Sharded tensors, for torchsnapshot's main branch; 0.1.0 cannot restore such a snapshot."""
    DROP = "drop"
    """Not at all."""


def carries_state(table: EmbeddingBagConfig, form: OptimizerStateForm) -> bool:
    """Whether optimizer state is written for a table: not where it is dropped, or the table's policy is reset."""
    return form is not OptimizerStateForm.DROP and table.optimizer_state is OptimizerStatePolicy.CARRY


def plan_state(
    table: EmbeddingBagConfig, old: OldTable | None, mapping: TableMapping, prefix: str, form: OptimizerStateForm
) -> tuple[ArrayToWrite, ...]:
    """The optimizer state that follows the table's rows.

    Raises:
        IncompatibleError: A state has a shape that cannot follow the rows.
    """
    if old is None:
        return ()
    return tuple(_state_to_write(table, old, state, mapping, prefix, form) for state in old.table.state)


def _state_to_write(
    table: EmbeddingBagConfig,
    old: OldTable,
    state: TableState,
    mapping: TableMapping,
    prefix: str,
    form: OptimizerStateForm,
) -> ArrayToWrite:
    path = renamed_state_path(
        state.array.path,
        old_table=old.table.name,
        old_weight_path=old.table.weight.path,
        new_table=table.name,
        prefix=prefix,
    )
    reader, array, num_rows = old.snapshot.reader(state.array), state.array, table.num_embeddings
    dtype = to_numpy(array.dtype)
    entry_form: Literal["sharded", "tensor"] = "sharded" if form is OptimizerStateForm.SHARDED else "tensor"
    match state.layout:
        case StateLayout.SINGLE:
            single = CarriedState(reader.num_rows, reader.dim, dtype, reader, None)
            return ArrayToWrite(path, array.dtype, array.shape, single, "tensor")
        case StateLayout.ROW_WISE_PER_COLUMN_SHARD:
            folded = FoldedState(num_rows, old.table.num_embeddings, dtype, reader, mapping.row_V)
            return ArrayToWrite(path, array.dtype, (num_rows,), folded, entry_form)
        case StateLayout.OTHER:
            raise _cannot_follow(table, old, state)
    carried = CarriedState(num_rows, reader.dim, dtype, reader, mapping.row_V)
    return ArrayToWrite(path, array.dtype, (num_rows, *array.shape[1:]), carried, entry_form)


def _cannot_follow(table: EmbeddingBagConfig, old: OldTable, state: TableState) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.SHAPE_MISMATCH,
        "an optimizer state cannot follow the rows",
        where=f"table {table.name}, {state.array.path}",
        expected=f"one value per row, or per element, of {old.table.num_embeddings} rows",
        found=f"shape {list(state.array.shape)}",
        hint="set optimizer_state: reset for this table, or --optimizer-state drop",
    )

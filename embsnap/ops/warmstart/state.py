"""The optimizer state of one new table."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from embsnap.config.embedding import EmbeddingBagConfig, OptimizerStatePolicy
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.dtypes import to_numpy
from embsnap.formats.torchsnapshot.states import column_cuts
from embsnap.formats.torchsnapshot.writer import ArrayToWrite
from embsnap.model.table import StateLayout, TableState
from embsnap.ops.warmstart.paths import renamed_state_path
from embsnap.ops.warmstart.sources import OldTable
from embsnap.ops.warmstart.state_rows import CarriedState, FoldedState
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
    return form is not OptimizerStateForm.DROP and table.optimizer_state is not OptimizerStatePolicy.RESET


def plan_state(
    table: EmbeddingBagConfig,
    old: OldTable | None,
    mapping: TableMapping,
    prefix: str,
    form: OptimizerStateForm,
    *,
    is_whole: bool,
) -> tuple[ArrayToWrite, ...]:
    """The optimizer state that follows the table's rows.

    Where parts of the table are asked for, whoever asks has to refuse, by the table's policy, what is not exact.

    Raises:
        IncompatibleError: A state has a shape that cannot follow the rows.
    """
    if old is None:
        return ()
    if is_whole and table.optimizer_state is OptimizerStatePolicy.REFUSE:
        _check_exact(table, old)
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
            fetching = old.fetching(reader, None, num_rows)
            folded = FoldedState(
                num_rows,
                old.table.num_embeddings,
                dtype,
                reader,
                mapping.row_V,
                cuts=column_cuts(old.table.weight),
                num_columns=table.embedding_dim,
                columns=range(table.embedding_dim),
                rule=table.column_state,
                fetching=fetching,
            )
            return ArrayToWrite(path, array.dtype, (num_rows,), folded, entry_form)
        case StateLayout.OTHER:
            raise _cannot_follow(table, old, state)
    fetching = old.fetching(reader, [mapping.row_V], num_rows)
    carried = CarriedState(num_rows, reader.dim, dtype, reader, mapping.row_V, fetching)
    return ArrayToWrite(path, array.dtype, (num_rows, *array.shape[1:]), carried, entry_form)


def _check_exact(table: EmbeddingBagConfig, old: OldTable) -> None:
    """Refuse a snapshot without optimizer state of the table, or with one that has to be folded.

    Raises:
        IncompatibleError: `state-mismatch`.
    """
    folded = [state.array.path for state in old.table.state if state.layout is StateLayout.ROW_WISE_PER_COLUMN_SHARD]
    if folded or not old.table.state:
        raise IncompatibleError(
            ErrorKind.STATE_MISMATCH,
            "the optimizer state cannot follow the rows exactly",
            where=f"table {table.name}, from {old.table.name} in {old.snapshot.uri}",
            expected="optimizer state with its own value for each row",
            found=f"one per column shard in {folded[0]}" if folded else "none",
            hint="set optimizer_state: carry to take what there is, or reset to start anew",
        )


def _cannot_follow(table: EmbeddingBagConfig, old: OldTable, state: TableState) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.SHAPE_MISMATCH,
        "an optimizer state cannot follow the rows",
        where=f"table {table.name}, {state.array.path}",
        expected=f"one value per row, or per element, of {old.table.num_embeddings} rows",
        found=f"shape {list(state.array.shape)}",
        hint="set optimizer_state: reset for this table, or --optimizer-state drop",
    )

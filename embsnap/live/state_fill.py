"""Optimizer state of live tables: what is carried, what starts anew, checked first and filled afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from torch import Tensor
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection

from embsnap.config.policies import OptimizerStatePolicy
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.live.arrays import numpy_dtype_of
from embsnap.live.filling import Band, RowsPart, bands
from embsnap.live.live_state import LiveOptimizer, LiveState, is_stateless, live_states, slots
from embsnap.live.parts import LocalPart
from embsnap.live.tables import LiveTable
from embsnap.model.findings import Finding, Severity
from embsnap.model.table import StateLayout, TableState
from embsnap.ops.warmstart.state_rows import CarriedState, FoldedState
from embsnap.ops.warmstart.table import PlannedTable

__all__ = ["StateFill", "numbered_states", "plan_state_fill"]

_Source: TypeAlias = CarriedState | FoldedState
_Stored: TypeAlias = Mapping[str, tuple[TableState, _Source]]


@dataclass(frozen=True, slots=True, eq=False)
class StateFill:
    """What becomes of the optimizer state of one table, as far as this rank holds it."""

    table: LiveTable
    carried: tuple[tuple[Band, _Source], ...] = ()
    reset: tuple[LiveState, ...] = ()
    """Start anew."""
    step: int | None = None
    """That the optimizer continues from."""
    names: tuple[str, ...] = ()
    """Of the states that follow the rows, as the live optimizer calls them."""
    notes: tuple[Finding, ...] = ()

    def fill_rest(self) -> None:
        """Set what is no row of the snapshot: counters, and what starts anew."""
        for state in self.reset:
            value = float(self.step or 0) if state.is_counter else state.initial
            for tensor in state.tensors:
                tensor.detach().fill_(value)
        if self.step is not None and isinstance(self.table.collection, ShardedEmbeddingBagCollection):
            _set_step(self.table.collection, self.step)


def _set_step(collection: ShardedEmbeddingBagCollection, step: int) -> None:
    """Have FBGEMM's kernels go on from a step.

    They read it from `iter_cpu`, which takes what torchrec sets over before their first forward only.
    """
    collection.fused_optimizer.set_optimizer_step(step)
    for kernel in (module for lookup in collection._lookups for module in lookup.modules()):
        counter = getattr(kernel, "iter_cpu", None)
        if isinstance(counter, Tensor):
            counter.fill_(step)


def plan_state_fill(table: LiveTable, planned: PlannedTable, optimizer: LiveOptimizer) -> StateFill:
    """Match the states in the snapshot with those of the live optimizer.

    Args:
        table: Of the model.
        planned: Where its rows come from.
        optimizer: That trains the model.

    Raises:
        IncompatibleError: `state-mismatch`: they are of different optimizers, of different shapes or dtypes, or Adam's
            step is not known.
        UsageError: As for `live_states`.
    """
    live, stored = live_states(table, optimizer), _stored(planned)
    counters = tuple(state for state in live.values() if state.is_counter)
    if not table.parts:
        step = _step(table, live, stored, optimizer) if counters and stored else None
        return StateFill(table, reset=counters, step=step)
    if not stored:
        if not live and not numbered_states(planned) and is_stateless(table, optimizer):
            return StateFill(table)
        notes = _not_carried(table, planned, _none_stored(planned))
        return StateFill(table, reset=tuple(live.values()), notes=notes if live else ())
    if not live:
        return StateFill(table, notes=_not_carried(table, planned, "the live model keeps none"))
    _check_same_optimizer(table, live, stored)
    rows = {slot: state for slot, state in live.items() if not state.is_single}
    singles = {slot: state for slot, state in live.items() if state.is_single and not state.is_counter}
    if planned.state_policy is OptimizerStatePolicy.REFUSE:
        _check_exact(table, [stored[slot] for slot in rows])
    return StateFill(
        table,
        carried=tuple(pair for slot, state in rows.items() for pair in _pairs(table, state, *stored[slot])),
        reset=(*counters, *(replace(state, initial=_value(stored[slot][1])) for slot, state in singles.items())),
        step=_step(table, live, stored, optimizer),
        names=tuple(state.name for state in rows.values()),
        notes=_left(table, live, stored),
    )


def _stored(planned: PlannedTable) -> _Stored:
    """What the snapshot holds of the table's state, by what it is."""
    states = planned.old.table.state if planned.old is not None and planned.state_to_write else ()
    sources = [array.source for array in planned.state_to_write]
    named = {
        state.name: (state, source)
        for state, source in zip(states, sources, strict=True)
        if isinstance(source, CarriedState | FoldedState)
    }
    return {slot: named[name] for name, slot in slots(named).items()}


def _check_same_optimizer(table: LiveTable, live: Mapping[str, LiveState], stored: _Stored) -> None:
    if any(slot not in stored for slot, state in live.items() if not state.is_counter):
        raise _mismatch(
            table,
            "the snapshot was trained with another optimizer than the live model's",
            ", ".join(state.name for state in live.values()),
            ", ".join(state.name for state, _ in stored.values()),
        )


def _check_exact(table: LiveTable, stored: Sequence[tuple[TableState, _Source]]) -> None:
    """Refuse one value per row for columns that were not the ones, or not the only ones, that had it."""
    for state, source in stored:
        for columns in (_columns(part) for part in table.parts if part.tensor.numel()):
            if isinstance(source, FoldedState):
                is_exact = replace(source, columns=columns).is_exact
            else:
                is_exact = state.layout is not StateLayout.ROW_WISE or len(columns) == table.shape[1]
            if not is_exact:
                raise _mismatch(
                    table,
                    "row-wise optimizer state cannot follow the rows exactly",
                    f"column shards in the snapshot with the same columns as here, {columns.start} to {columns.stop}",
                    f"{state.array.path}, of other columns",
                )


def _columns(part: LocalPart) -> range:
    """Of the whole table."""
    return range(part.offsets[1], part.offsets[1] + part.tensor.shape[1])


def _pairs(table: LiveTable, state: LiveState, stored: TableState, source: _Source) -> Iterator[tuple[Band, _Source]]:
    """The live tensors of a state, and the rows for each."""
    parts = [
        _placed(table, part, tensor, state, stored, source)
        for part, tensor in zip(table.parts, state.tensors, strict=True)
        if part.tensor.numel()
    ]
    if not isinstance(source, FoldedState):
        source = replace(source, initial=state.initial)
        yield from ((band, source) for band in bands(parts))
        return
    for part, row_values in zip((part for part in table.parts if part.tensor.numel()), parts, strict=True):
        folded = replace(source, columns=_columns(part), initial=state.initial)
        yield from ((band, folded) for band in bands([row_values]))


def _placed(
    table: LiveTable, part: LocalPart, tensor: Tensor, state: LiveState, stored: TableState, source: _Source
) -> RowsPart:
    """A live tensor as a rectangle of what `source` hands out: a table of the weight's shape, or of one column."""
    is_row_wise = source.dim == 1 and source.old.dim == 1
    shapes = [(len(part.tensor),), (len(part.tensor), 1)] if is_row_wise else [tuple(part.tensor.shape)]
    if tuple(tensor.shape) not in shapes or numpy_dtype_of(tensor) != source.dtype:
        raise _mismatch(
            table,
            f"the live {state.name} of {list(part.tensor.shape)} cannot take the snapshot's {stored.name}",
            f"{' or '.join(str(list(shape)) for shape in shapes)} of {source.dtype.name}",
            f"{list(tensor.shape)} of {numpy_dtype_of(tensor).name}",
        )
    column = 0 if is_row_wise else part.offsets[1]
    return RowsPart(part.offsets[0], column, tensor.reshape(len(tensor), -1) if is_row_wise else tensor)


def _step(table: LiveTable, live: Mapping[str, LiveState], stored: _Stored, optimizer: LiveOptimizer) -> int | None:
    if "step" in stored:
        return int(_value(stored["step"][1]))
    if "exp_avg" in live and optimizer.step is None:
        raise _mismatch(
            table,
            "Adam's moments are carried, and nothing says at which step they are",
            "a state `step` in the snapshot, or optimizer_step",
            "neither",
        )
    return optimizer.step if "exp_avg" in live else None


def _value(source: _Source) -> float:
    """Of a state that is one for all rows."""
    values = np.empty((source.num_rows, source.dim), source.dtype)
    source.read(0, source.num_rows, values)
    return float(values.max())


def numbered_states(planned: PlannedTable) -> list[str]:
    """Those of the snapshot, of whatever parameters, that are known by number alone."""
    return planned.old.snapshot.index.numbered if planned.old is not None else []


def _none_stored(planned: PlannedTable) -> str:
    numbered = numbered_states(planned)
    if not numbered:
        return "the snapshot has none"
    return (
        "the snapshot has none by the table's name, only that of an optimizer of torch itself, by number "
        f"({numbered[0]}); build it from model.named_parameters(), and the names are saved too"
    )


def _not_carried(table: LiveTable, planned: PlannedTable, reason: str) -> tuple[Finding, ...]:
    if planned.old is None or planned.state_policy is OptimizerStatePolicy.RESET:
        return ()
    if planned.state_policy is OptimizerStatePolicy.REFUSE:
        raise _mismatch(table, "optimizer state cannot follow the rows", "it on both sides", reason)
    message = f"no optimizer state follows the rows: {reason}"
    remedy = "name the optimizer that trains the table (another than torch's: after its first step), or reset it"
    return (Finding(Severity.NOTE, "state-not-carried", f"table {table.name}", message, remedy),)


def _left(table: LiveTable, live: Mapping[str, LiveState], stored: _Stored) -> tuple[Finding, ...]:
    left = [state.name for slot, (state, _) in stored.items() if slot not in live and slot != "step"]
    if not left:
        return ()
    message = "the live optimizer has no place for some of the snapshot's states"
    return (Finding(Severity.NOTE, "state-not-carried", f"table {table.name}", message, "", len(left), tuple(left)),)


def _mismatch(table: LiveTable, problem: str, expected: str, found: str) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.STATE_MISMATCH,
        problem,
        where=f"table {table.name}",
        expected=expected,
        found=found,
        hint="set optimizer_state: reset for this table",
    )

"""The optimizer state of a live model's tables, wherever its optimizer keeps it.

Forms: a fused optimizer's state is sharded like its table (`<table>.momentum1`); that of a dense one beside a sharded
table is a plain tensor on each rank, the states of the rank's parts stacked along rows; that of a plain table is a
tensor of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.distributed.types import ShardedTensor
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizer, KeyedOptimizerWrapper, OptimizerWrapper

from embsnap.errors import ErrorKind, UsageError
from embsnap.live.parts import is_sharded, local_parts
from embsnap.live.tables import LiveTable

__all__ = ["LiveOptimizer", "LiveState", "initialize_states", "is_stateless", "live_states", "slots"]

_COUNTERS = frozenset({"step", "iter"})
_SECOND_MOMENTS = frozenset({"momentum2", "exp_avg", "exp_avg_sq"})


@dataclass(frozen=True, slots=True, eq=False)
class LiveOptimizer:
    """What trains a live model's tables."""

    optimizer: torch.optim.Optimizer | None = None
    """None where it is fused into the backward pass."""
    step: int | None = None
    """That it continues from, where the snapshot does not say."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveState:
    """One optimizer state of one table, as far as this rank holds it."""

    name: str
    """As the optimizer calls it, without the table's name."""
    tensors: tuple[Tensor, ...]
    """For each of the table's parts on this rank; a counter's only one, or one for each."""
    initial: float
    """Of rows that no gradient has reached yet."""

    @property
    def is_counter(self) -> bool:
        """Whether it counts steps and knows no rows."""
        return self.name in _COUNTERS

    @property
    def is_single(self) -> bool:
        """Whether it is one value for all rows: a counter, or what some optimizers compute from one (NAdam, ASGD)."""
        return self.is_counter or (bool(self.tensors) and all(tensor.dim() == 0 for tensor in self.tensors))


def slots(names: Mapping[str, Any]) -> dict[str, str]:
    """What the states of one table are, by name, whatever its optimizer calls them.

    torchrec calls the first state of every fused optimizer `momentum1`; the second moment of Adam and its like is
    `momentum2` up to torchrec 0.4 and `exp_avg_sq` since. Dense optimizers have torch's own names.

    Returns:
        Name → `sum` (of squared gradients), `exp_avg`, `exp_avg_sq`, `step`, or the name itself.
    """
    first = "exp_avg" if _SECOND_MOMENTS & names.keys() else "sum"
    canonical = {"momentum1": first, "momentum2": "exp_avg_sq", "iter": "step"}
    return {name: canonical.get(name, name) for name in names}


def initialize_states(optimizer: torch.optim.Optimizer | None, tables: Sequence[LiveTable]) -> None:
    """Let dense optimizers that make a parameter's state in its first step make that of these tables now, to be filled.

    It is what it would be at the beginning of that step. All else stays as it is: rows, gradients, learning rates, and
    what the optimizer does with other parameters.
    """
    if optimizer is not None and _is_known(optimizer):
        weights = [table.parameter for table in tables]
        everything = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        _make_states(optimizer, [one for one in everything if any(one is weight for weight in weights)], everything)
    for keyed in _keyed(optimizer):
        if isinstance(keyed, KeyedOptimizerWrapper):
            named = [keyed.params[key] for key in keyed.params if any(_is_of(key, table) for table in tables)]
            _make_states(keyed, named, list(keyed.params.values()))
    for table in tables:
        for fused in _in_backward(table):
            _make_states(fused, [table.parameter], [table.parameter])


def _is_known(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it is torch's own, and its step asks for nothing but gradients; others may do anything in theirs."""
    is_own = type(optimizer).__module__.startswith("torch.optim.")
    return is_own and not isinstance(optimizer, torch.optim.LBFGS | torch.optim.SparseAdam)


def _make_states(optimizer: torch.optim.Optimizer, named: Sequence[Tensor], everything: Sequence[Tensor]) -> None:
    """A step of parameters without state, alone, that changes none: without gradients, at the rate 0; not counted."""
    parameters = [parameter for parameter in named if parameter.requires_grad and not optimizer.state.get(parameter)]
    if not parameters or _keeps_nothing(optimizer):
        return
    groups = optimizer.param_groups
    gradients, kept = [parameter.grad for parameter in everything], [dict(group) for group in groups]
    try:
        for parameter in everything:
            parameter.grad = None
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        for group in groups:
            group.update({name: 0.0 for name in ("lr", "weight_decay") if name in group})
        optimizer.step()
    finally:
        for parameter, gradient in zip(everything, gradients, strict=True):
            parameter.grad = gradient
        for group, before in zip(groups, kept, strict=True):
            group.update(before)
    for parameter in parameters:
        state = optimizer.state[parameter]
        for name, value in (_initial(optimizer, parameter) | dict.fromkeys(_COUNTERS, 0)).items():
            if name in state:
                state[name] = torch.full_like(state[name], value) if isinstance(state[name], Tensor) else value


def _keeps_nothing(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it is SGD without momentum."""
    optimizer = optimizer._optimizer if isinstance(optimizer, KeyedOptimizerWrapper) else optimizer
    return isinstance(optimizer, torch.optim.SGD) and not any(group["momentum"] for group in optimizer.param_groups)


def live_states(table: LiveTable, optimizer: LiveOptimizer) -> dict[str, LiveState]:
    """The states of a table by what they are, in the given optimizer, or else in the one fused into its backward pass.

    Raises:
        UsageError: `bad-option`: two optimizers have state of the table.
    """
    found = [states for states in _candidates(table, optimizer) if states]
    if len(found) > 1:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "two parameters of the optimizer look like this table",
            where=f"table {table.name}",
            expected="one optimizer with one set of states",
            found=", ".join("/".join(states) for states in found),
            hint="give the optimizer that trains this model, once",
        )
    return found[0] if found else {}


def is_stateless(table: LiveTable, optimizer: LiveOptimizer) -> bool:
    """Whether it is known what trains a table, and that it keeps nothing: SGD without momentum."""
    if isinstance(table.collection, ShardedEmbeddingBagCollection):
        kernels = table.collection.fused_optimizer
        if table.key in kernels.params:
            return not kernels.state_dict()["state"].get(table.key)
    found = [*_in_backward(table)]
    for keyed in _keyed(optimizer.optimizer):
        found += [keyed for key in keyed.params if _is_of(key, table)]
    if isinstance(optimizer.optimizer, torch.optim.SGD):
        groups = optimizer.optimizer.param_groups
        found += [optimizer.optimizer for group in groups if any(one is table.parameter for one in group["params"])]
    return bool(found) and all(map(_keeps_nothing, found))


def _candidates(table: LiveTable, optimizer: LiveOptimizer) -> list[dict[str, LiveState]]:
    given = [_states(table, state, initial) for state, initial in _given(table, optimizer.optimizer)]
    return given or [_states(table, *fused) for fused in _fused(table)]


def _given(
    table: LiveTable, optimizer: torch.optim.Optimizer | None
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, float]]]:
    if optimizer is not None and not isinstance(optimizer, KeyedOptimizer):
        if table.parameter in optimizer.state:
            yield optimizer.state[table.parameter], _initial(optimizer, table.parameter)
        return
    for keyed in _keyed(optimizer):
        state = keyed.state_dict()["state"]
        for key, parameter in keyed.params.items():
            if _is_of(key, table) and state.get(key):
                yield state[key], _initial(keyed, parameter)


def _is_of(key: str, table: LiveTable) -> bool:
    """Whether an optimizer's parameter is a table's weight, by its key in any module that contains the table."""
    return key == table.key or key.endswith(f".{table.key}")


def _fused(table: LiveTable) -> Iterator[tuple[Mapping[str, Any], Mapping[str, float]]]:
    if isinstance(table.collection, ShardedEmbeddingBagCollection):
        state = table.collection.fused_optimizer.state_dict()["state"]
        if table.key in state:
            yield state[table.key], {}
        return
    for optimizer in _in_backward(table):
        yield optimizer.state[table.parameter], _initial(optimizer, table.parameter)


def _in_backward(table: LiveTable) -> Sequence[torch.optim.Optimizer]:
    """What updates a table in its backward pass, where that is no kernel of FBGEMM's."""
    if isinstance(table.collection, ShardedEmbeddingBagCollection):
        return ()
    optimizers: Sequence[torch.optim.Optimizer] = getattr(table.parameter, "_in_backward_optimizers", ())
    return optimizers


def _keyed(optimizer: torch.optim.Optimizer | None) -> Iterator[KeyedOptimizer]:
    """Those that keep the state: within what combines them, and what warms them up or clips their gradients."""
    if isinstance(optimizer, CombinedOptimizer):
        for _, part in optimizer.optimizers:
            yield from _keyed(part)
    elif isinstance(optimizer, OptimizerWrapper):
        yield from _keyed(optimizer._optimizer)
    elif isinstance(optimizer, KeyedOptimizer):
        yield optimizer


def _initial(optimizer: torch.optim.Optimizer, parameter: Any) -> dict[str, float]:
    """What the sum of Adagrad, and some states of NAdam, ASGD and Rprop, start from; all others start from zero."""
    groups = [group for group in optimizer.param_groups if any(member is parameter for member in group["params"])]
    rates = {"step_size": "lr", "eta": "lr", "sum": "initial_accumulator_value"}
    found = {name: float(groups[0].get(rate, 0.0)) for name, rate in rates.items()} if groups else {}
    return found | {"mu_product": 1.0, "mu": 1.0}


def _states(table: LiveTable, states: Mapping[str, Any], initial: Mapping[str, float]) -> dict[str, LiveState]:
    named = {name.removeprefix(f"{table.name}."): value for name, value in states.items()}
    named = {name: value for name, value in named.items() if isinstance(value, Tensor | ShardedTensor)}
    return {
        slot: LiveState(name, _tensors(table, name, named[name]), initial.get(slot, 0.0))
        for name, slot in slots(named).items()
    }


def _tensors(table: LiveTable, name: str, value: Tensor | ShardedTensor) -> tuple[Tensor, ...]:
    if is_sharded(value) or name in _COUNTERS or value.dim() == 0 or len(table.parts) == 1:
        return tuple(part.tensor for part in local_parts(value))
    if not table.parts:
        return ()
    return tuple(value.detach().split([len(part.tensor) for part in table.parts]))

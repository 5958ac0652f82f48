"""The optimizers of tables, fused into the backward pass.

Shape suffixes: V rows of a table, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.optim.apply_optimizer_in_backward import (
    _apply_optimizer_in_backward as apply_optimizer_in_backward,
)
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizer
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from embsnap.config.optimizer import (
    AdagradConfig,
    AdamConfig,
    LearningRate,
    OptimizerConfig,
    RowwiseAdagradConfig,
    SgdConfig,
)
from embsnap.errors import ErrorKind, UsageError
from embsnap.live.schedules import learning_rate_at

__all__ = [
    "FusedOptimizer",
    "FusedState",
    "ShardedFusedOptimizer",
    "fuse_optimizer",
    "fused_state",
    "has_fused_kernel",
    "is_fused",
]


class FusedState(NamedTuple):
    """What a fused optimizer has come to."""

    tensors: dict[str, Tensor]
    learning_rate: float


def fuse_optimizer(parameter: nn.Parameter, config: OptimizerConfig, state: FusedState | None = None) -> None:
    """Let `backward()` update a table at once, as torchrec's `apply_optimizer_in_backward` does.

    The parameter keeps no gradient afterwards. Its optimizer state exists from now on (all zero), so that it can be
    filled before the first step. On a parameter of the meta device nothing is allocated: torchrec's sharding reads
    from it which fused kernel to build. (FBGEMM has none for SGD with momentum: torchrec's would be without.)

    Args:
        parameter: Weight of a table, `[V, D]`.
        config: Its `learning_rate`, if any, holds once `FusedOptimizer.set_step` is called; until then the `lr` of
            the algorithm does.
        state: Of the same optimizer of another parameter, to go on from.
    """
    optimizer_class, arguments = _torch_optimizer(config, parameter.dtype)
    apply_optimizer_in_backward(optimizer_class, [parameter], arguments)
    if parameter.device.type != "meta":
        _initialize_state(_optimizer_of(parameter), parameter)
    elif "betas" in arguments:
        _rename_betas(parameter, arguments)
    if state is not None:
        optimizer = _optimizer_of(parameter)
        optimizer.state[parameter].update(state.tensors)
        optimizer.param_groups[0]["lr"] = state.learning_rate


def _rename_betas(parameter: Any, arguments: dict[str, Any]) -> None:
    """Give Adam's arguments the names that FBGEMM's kernel, to which torchrec passes them on, has for them."""
    others = {name: value for name, value in arguments.items() if name != "betas"}
    beta1, beta2 = arguments["betas"]
    parameter._optimizer_kwargs = [others | {"beta1": beta1, "beta2": beta2}]


def is_fused(parameter: nn.Parameter) -> bool:
    """Whether the backward pass updates it."""
    return hasattr(parameter, "_in_backward_optimizers")


def fused_state(parameter: nn.Parameter) -> FusedState:
    """The state of its fused optimizer, live."""
    optimizer = _optimizer_of(parameter)
    return FusedState(dict(optimizer.state[parameter]), optimizer.param_groups[0]["lr"])


def has_fused_kernel(config: OptimizerConfig, device: torch.device) -> bool:
    """Whether FBGEMM can fuse an optimizer into a sharded table's backward pass."""
    algorithm = config.algorithm
    if isinstance(algorithm, AdamConfig):
        return device.type == "cuda"
    return not (isinstance(algorithm, SgdConfig) and algorithm.momentum)


def _torch_optimizer(config: OptimizerConfig, dtype: torch.dtype) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    algorithm = config.algorithm
    match algorithm:
        case AdamConfig():
            return torch.optim.Adam, {"lr": algorithm.lr, "betas": algorithm.betas, "eps": _eps(algorithm.eps, dtype)}
        case SgdConfig():
            return torch.optim.SGD, {"lr": algorithm.lr, "momentum": algorithm.momentum}
        case AdagradConfig():
            return torch.optim.Adagrad, {"lr": algorithm.lr, "eps": _eps(algorithm.eps, dtype)}
        case RowwiseAdagradConfig():
            return RowWiseAdagrad, {"lr": algorithm.lr, "eps": _eps(algorithm.eps, dtype)}


def _eps(eps: float, dtype: torch.dtype) -> float:
    """`eps`, or the least that keeps rows without a gradient from becoming 0/0."""
    return max(eps, torch.finfo(dtype).tiny)


def _initialize_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> None:
    """Make the state that Adam and SGD would make in their first step; the Adagrads have theirs."""
    state, group = optimizer.state[parameter], optimizer.param_groups[0]
    if isinstance(optimizer, torch.optim.Adam):
        state["step"] = torch.zeros(())
        state["exp_avg"] = torch.zeros_like(parameter, requires_grad=False)
        state["exp_avg_sq"] = torch.zeros_like(parameter, requires_grad=False)
    elif isinstance(optimizer, torch.optim.SGD) and group["momentum"]:
        state["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)


def _optimizer_of(parameter: nn.Parameter) -> torch.optim.Optimizer:
    optimizers: list[torch.optim.Optimizer] = getattr(parameter, "_in_backward_optimizers")  # noqa: B009
    return optimizers[0]


class FusedOptimizer(KeyedOptimizer):
    """A view of the optimizers that are fused into a module's backward pass: their state and their learning rates.

    Its `state_dict()` is `{"state": {<parameter key>: {<state>: tensor}}}`, which is what torchsnapshot takes and
    restores in place. The state of a table `[V, D]` by optimizer:

        sgd               nothing, or `momentum_buffer` `[V, D]` with momentum
        adagrad           `sum` `[V, D]`, `step` `[]`
        rowwise_adagrad   `sum` `[V, 1]`, `step` `[]`
        adam              `exp_avg` and `exp_avg_sq` `[V, D]`, `step` `[]`
    """

    def __init__(self, module: nn.Module, schedules: Mapping[str, OptimizerConfig]) -> None:
        """Look at the parameters of `module` that have a fused optimizer.

        Args:
            module: Its tables were given to `fuse_optimizer`.
            schedules: Parameter key → its config, where `set_step` is to follow `learning_rate`.
        """
        named = dict(module.named_parameters())
        parameters = {key: value for key, value in named.items() if is_fused(value)}
        self._optimizers = {key: _optimizer_of(parameter) for key, parameter in parameters.items()}
        self._schedules = schedules
        state = {parameters[key]: optimizer.state[parameters[key]] for key, optimizer in self._optimizers.items()}
        groups = [group for optimizer in self._optimizers.values() for group in optimizer.param_groups]
        super().__init__(parameters, state, groups)

    def states(self) -> dict[str, dict[str, Tensor]]:
        """Parameter key → name of a state → its tensor, live: filling it changes the next update."""
        return {key: dict(self.state[parameter]) for key, parameter in self.params.items()}

    def learning_rates(self) -> dict[str, float]:
        """Parameter key → learning rate of the next update."""
        return {key: float(optimizer.param_groups[0]["lr"]) for key, optimizer in self._optimizers.items()}

    def set_step(self, step: int) -> None:
        """Set the learning rates to what the schedules say for a step; tables without one keep theirs."""
        for key, optimizer in self._optimizers.items():
            config = self._schedules.get(key)
            if config is not None and config.learning_rate is not None:
                optimizer.param_groups[0]["lr"] = learning_rate_at(config.learning_rate, step)

    def step(self, closure: Any = None) -> None:
        """Nothing: the backward pass has updated the tables."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: the backward pass leaves no gradient."""


class ShardedFusedOptimizer(CombinedOptimizer):
    """A view of the FBGEMM kernels of a sharded collection: their state, and their learning rates.

    torchrec puts tables with the same algorithm into one kernel, which has one learning rate. Its `state_dict()` is
    that of torchrec's fused optimizer, with the keys of `FusedOptimizer`.
    """

    def __init__(self, kernels: CombinedOptimizer, prefix: str, schedules: Mapping[str, OptimizerConfig]) -> None:
        """Look at the kernels of this rank.

        Args:
            kernels: The `fused_optimizer` of a ShardedEmbeddingBagCollection.
            prefix: Of the collection, in the keys.
            schedules: As for `FusedOptimizer`.

        Raises:
            UsageError: `bad-config`: tables in one kernel follow different learning rates.
        """
        super().__init__([(prefix, kernels)])
        self._kernels = {
            tuple(f"{prefix}.{key}" for key in optimizer.params): optimizer for _, optimizer in kernels.optimizers
        }
        self._rates = {keys: _common_rate(keys, schedules) for keys in self._kernels if keys}

    def learning_rates(self) -> dict[str, float]:
        """Parameter key → learning rate of the next update, of the tables on this rank."""
        return {key: float(self._kernels[keys].param_groups[0]["lr"]) for keys in self._rates for key in keys}

    def set_step(self, step: int) -> None:
        """Set the learning rates to what the schedules say for a step; tables without one keep theirs."""
        for keys, rate in self._rates.items():
            if rate is not None:
                kernel = self._kernels[keys]
                kernel.param_groups[0]["lr"] = learning_rate_at(rate, step)
                kernel.step()  # hands the kernel its learning rate; the backward pass has updated the tables


def _common_rate(keys: tuple[str, ...], schedules: Mapping[str, OptimizerConfig]) -> LearningRate | None:
    rates = [schedules[key].learning_rate if key in schedules else None for key in keys]
    for key, rate in zip(keys, rates, strict=True):
        if rate != rates[0]:
            raise UsageError(
                ErrorKind.BAD_CONFIG,
                "these tables share one of FBGEMM's kernels, which has one learning rate, and follow different ones",
                where=f"{keys[0]} and {key}",
                expected="one `learning_rate`",
                found="two",
                hint="give their algorithms another `lr` each: then each has a kernel of its own",
            )
    return rates[0]

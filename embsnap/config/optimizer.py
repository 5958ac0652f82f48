"""Optimizers and learning rate schedules."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from embsnap.config.base import BaseConfig, OneOf
from embsnap.config.numbers import Count, Index, Momentum, NonNegativeFloat

__all__ = [
    "AdagradConfig",
    "AdamConfig",
    "Algorithm",
    "LearningRate",
    "LinearRampToConstant",
    "LinearRampToCosine",
    "OptimizerConfig",
    "PiecewiseConstant",
    "RowwiseAdagradConfig",
    "SgdConfig",
]


class PiecewiseConstant(BaseConfig):
    """A constant learning rate between each two boundaries."""

    learning_rate_boundaries: tuple[Index, ...] = ()
    """Steps, ascending, from which the next value holds."""
    learning_rate_values: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)]
    """One value more than there are boundaries."""

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        num_boundaries, num_values = len(self.learning_rate_boundaries), len(self.learning_rate_values)
        if num_values != num_boundaries + 1:
            raise ValueError(
                f"learning_rate_values must have one more than learning_rate_boundaries "
                f"(found {num_values} values and {num_boundaries} boundaries)"
            )
        if any(later <= earlier for earlier, later in pairwise(self.learning_rate_boundaries)):
            raise ValueError(f"learning_rate_boundaries must ascend (found {list(self.learning_rate_boundaries)})")
        return self


class LinearRampToConstant(BaseConfig):
    """Up from zero to a constant learning rate."""

    learning_rate: NonNegativeFloat
    """What it stays at after the ramp."""
    num_ramp_steps: Count
    """Steps from zero to `learning_rate`."""


class LinearRampToCosine(BaseConfig):
    """Up from zero, then along half a cosine to a final learning rate."""

    learning_rate: NonNegativeFloat
    """The highest, at the end of the ramp."""
    final_learning_rate: NonNegativeFloat
    """What it stays at from `final_num_steps` on."""
    num_ramp_steps: Count
    """Steps from zero to `learning_rate`."""
    final_num_steps: Count
    """Step, counted from the start of training, at which the cosine ends."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.final_num_steps <= self.num_ramp_steps:
            raise ValueError(
                f"final_num_steps must be after the ramp (found final_num_steps {self.final_num_steps}, "
                f"num_ramp_steps {self.num_ramp_steps})"
            )
        return self


class LearningRate(BaseConfig):
    """A learning rate over the steps of a training: exactly one schedule."""

    constant: Annotated[NonNegativeFloat | None, OneOf("lr")] = None
    """The same at every step."""
    linear_ramp_to_cosine: Annotated[LinearRampToCosine | None, OneOf("lr")] = None
    """Up from zero, then along half a cosine to a final learning rate."""
    linear_ramp_to_constant: Annotated[LinearRampToConstant | None, OneOf("lr")] = None
    """Up from zero to a constant."""
    piecewise_constant: Annotated[PiecewiseConstant | None, OneOf("lr")] = None
    """A constant between each two boundaries."""

    @property
    def kind(self) -> str:
        """Name of the schedule that is given: `constant`, …"""
        return self.chosen("lr")[0]


class AdamConfig(BaseConfig):
    """Adam."""

    lr: NonNegativeFloat
    """Learning rate."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: NonNegativeFloat = 1e-7
    """Added to the denominator."""


class SgdConfig(BaseConfig):
    """Stochastic gradient descent."""

    lr: NonNegativeFloat
    """Learning rate."""
    momentum: NonNegativeFloat = 0.0
    """Momentum factor."""


class AdagradConfig(BaseConfig):
    """Adagrad: one sum of squared gradients per element."""

    lr: NonNegativeFloat
    """Learning rate."""
    eps: NonNegativeFloat = 0.0
    """Added to the denominator."""


class RowwiseAdagradConfig(BaseConfig):
    """Row-wise Adagrad: one sum of mean squared gradients per row of a table."""

    lr: NonNegativeFloat
    """Learning rate."""
    eps: NonNegativeFloat = 1e-8
    """Added to the denominator."""


Algorithm = AdamConfig | SgdConfig | AdagradConfig | RowwiseAdagradConfig
"""What an `OptimizerConfig` holds one of."""


class OptimizerConfig(BaseConfig):
    """An optimizer: exactly one algorithm, and its learning rate over time."""

    learning_rate: LearningRate | None = None
    """Schedule; without it the algorithm's `lr` holds throughout."""
    adam: Annotated[AdamConfig | None, OneOf("optimizer")] = None
    """Adam."""
    sgd: Annotated[SgdConfig | None, OneOf("optimizer")] = None
    """Stochastic gradient descent."""
    adagrad: Annotated[AdagradConfig | None, OneOf("optimizer")] = None
    """Adagrad, one state value per element."""
    rowwise_adagrad: Annotated[RowwiseAdagradConfig | None, OneOf("optimizer")] = None
    """Adagrad, one state value per row."""

    @property
    def kind(self) -> str:
        """Name of the algorithm that is given: `adam`, `sgd`, `adagrad` or `rowwise_adagrad`."""
        return self.chosen("optimizer")[0]

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that is given."""
        algorithm: Algorithm = self.chosen("optimizer")[1]
        return algorithm

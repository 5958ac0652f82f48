"""Learning rate schedules, evaluated at a step."""

from __future__ import annotations

from bisect import bisect_right
from math import cos, pi

from embsnap.config.optimizer import LearningRate, LinearRampToCosine

__all__ = ["learning_rate_at"]


def learning_rate_at(schedule: LearningRate, step: int) -> float:
    """The learning rate of a schedule at a step, counted from 0 at the start of training.

    Ramps start from 0 at step 0 and reach their learning rate at `num_ramp_steps`. A boundary of
    `piecewise_constant` is the first step of the next value.
    """
    if schedule.constant is not None:
        return schedule.constant
    if schedule.piecewise_constant is not None:
        pieces = schedule.piecewise_constant
        return pieces.learning_rate_values[bisect_right(pieces.learning_rate_boundaries, step)]
    if schedule.linear_ramp_to_constant is not None:
        ramp = schedule.linear_ramp_to_constant
        return min(ramp.learning_rate, ramp.learning_rate / ramp.num_ramp_steps * step)
    assert schedule.linear_ramp_to_cosine is not None
    return _ramp_to_cosine(schedule.linear_ramp_to_cosine, step)


def _ramp_to_cosine(ramp: LinearRampToCosine, step: int) -> float:
    if step < ramp.num_ramp_steps:
        return ramp.learning_rate / ramp.num_ramp_steps * step
    if step > ramp.final_num_steps:
        return ramp.final_learning_rate
    angle = pi * (step - ramp.num_ramp_steps) / (ramp.final_num_steps - ramp.num_ramp_steps)
    return ramp.final_learning_rate + (ramp.learning_rate - ramp.final_learning_rate) * 0.5 * (1.0 + cos(angle))

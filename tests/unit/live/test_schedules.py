"""Learning rates over the steps of a training."""

from __future__ import annotations

from math import cos, pi

import pytest

from embsnap.config.optimizer import LearningRate
from embsnap.live.schedules import learning_rate_at


def at(schedule: dict, *steps: int) -> list[float]:
    parsed = LearningRate.model_validate(schedule)
    return [learning_rate_at(parsed, step) for step in steps]


def test_a_constant_stays() -> None:
    assert at({"constant": 0.01}, 0, 1, 10**9) == [0.01, 0.01, 0.01]


def test_a_boundary_is_the_first_step_of_the_next_value() -> None:
    pieces = {"learning_rate_boundaries": [10, 20], "learning_rate_values": [1.0, 0.5, 0.25]}
    assert at({"piecewise_constant": pieces}, 0, 9, 10, 19, 20, 99) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_a_ramp_rises_from_nothing_and_stays() -> None:
    ramp = {"learning_rate": 0.4, "num_ramp_steps": 4}
    assert at({"linear_ramp_to_constant": ramp}, 0, 1, 2, 4, 5, 100) == pytest.approx([0, 0.1, 0.2, 0.4, 0.4, 0.4])


def test_a_cosine_falls_from_the_ramps_top_to_its_end() -> None:
    ramp = {"learning_rate": 1.0, "final_learning_rate": 0.2, "num_ramp_steps": 10, "final_num_steps": 30}
    found = at({"linear_ramp_to_cosine": ramp}, 0, 5, 10, 15, 20, 30, 31, 1000)
    quarter = 0.2 + 0.8 * 0.5 * (1 + cos(pi / 4))
    assert found == pytest.approx([0.0, 0.5, 1.0, quarter, 0.6, 0.2, 0.2, 0.2])


@pytest.mark.parametrize("step", [0, 1, 3, 6, 7, 8, 13, 29, 30, 31, 100])
def test_the_arithmetic_is_that_of_the_algorithm_ml_to_the_last_bit(step: int) -> None:
    """`compute_lr` of the-algorithm-ml: a slope times the step; a cosine of pi times the steps since the ramp."""
    lr, last, ramp, final = 0.3, 0.07, 7, 30
    constant = {"learning_rate": lr, "num_ramp_steps": ramp}
    assert at({"linear_ramp_to_constant": constant}, step) == [min(lr, lr / ramp * step)]
    cosine = last + (lr - last) * 0.5 * (1.0 + cos(pi * (step - ramp) / (final - ramp)))
    expected = lr / ramp * step if step < ramp else cosine if step <= final else last
    schedule = {**constant, "final_learning_rate": last, "final_num_steps": final}
    assert at({"linear_ramp_to_cosine": schedule}, step) == [expected]

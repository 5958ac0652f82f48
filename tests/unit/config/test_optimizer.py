from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from embsnap.config.optimizer import (
    AdagradConfig,
    AdamConfig,
    LearningRate,
    LinearRampToCosine,
    OptimizerConfig,
    PiecewiseConstant,
    RowwiseAdagradConfig,
    SgdConfig,
)


@pytest.mark.parametrize(
    ("config", "defaults"),
    [
        (AdamConfig(lr=0.1), {"betas": (0.9, 0.999), "eps": 1e-7}),
        (SgdConfig(lr=0.1), {"momentum": 0.0}),
        (AdagradConfig(lr=0.1), {"eps": 0.0}),
        (RowwiseAdagradConfig(lr=0.1), {"eps": 1e-8}),
    ],
)
def test_defaults(config: AdamConfig, defaults: dict[str, Any]) -> None:
    assert config.model_dump() == {"lr": 0.1, **defaults}


@pytest.mark.parametrize("kind", ["adam", "sgd", "adagrad", "rowwise_adagrad"])
def test_an_optimizer_is_one_algorithm(kind: str) -> None:
    optimizer = OptimizerConfig(**{kind: {"lr": 0.5}})
    assert optimizer.kind == kind
    assert optimizer.algorithm.lr == 0.5
    assert optimizer.learning_rate is None


@pytest.mark.parametrize("fields", [{}, {"adam": {"lr": 1}, "sgd": {"lr": 1}}])
def test_an_optimizer_is_not_none_and_not_two(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give exactly one of adam, sgd, adagrad, rowwise_adagrad"):
        OptimizerConfig(**fields)


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [
        ("constant", 0.1),
        ("linear_ramp_to_constant", {"learning_rate": 0.1, "num_ramp_steps": 10}),
        (
            "linear_ramp_to_cosine",
            {"learning_rate": 0.1, "final_learning_rate": 0.01, "num_ramp_steps": 10, "final_num_steps": 11},
        ),
        ("piecewise_constant", {"learning_rate_boundaries": [5], "learning_rate_values": [1, 2]}),
    ],
)
def test_a_learning_rate_is_one_schedule(kind: str, schedule: object) -> None:
    nulls = dict.fromkeys(LearningRate.model_fields)
    assert LearningRate(**{**nulls, kind: schedule}).kind == kind


def test_a_learning_rate_of_zero_is_a_learning_rate() -> None:
    assert LearningRate(constant=0).kind == "constant"


def test_two_schedules_are_refused() -> None:
    with pytest.raises(ValidationError, match="give exactly one of constant"):
        LearningRate(constant=1, linear_ramp_to_constant={"learning_rate": 0.1, "num_ramp_steps": 10})


@pytest.mark.parametrize(
    ("boundaries", "values", "message"),
    [
        ([1, 2], [0.1, 0.2], "one more than learning_rate_boundaries .found 2 values and 2 boundaries"),
        ([2, 2], [0.1, 0.2, 0.3], r"must ascend .found \[2, 2\]"),
        ([], [], "at least 1 item"),
    ],
)
def test_pieces_fit_their_boundaries(boundaries: list[int], values: list[float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PiecewiseConstant(learning_rate_boundaries=boundaries, learning_rate_values=values)


def test_a_cosine_ends_after_its_ramp() -> None:
    with pytest.raises(ValidationError, match="final_num_steps must be after the ramp"):
        LinearRampToCosine(learning_rate=1, final_learning_rate=0, num_ramp_steps=10, final_num_steps=10)


@pytest.mark.parametrize("field", ["num_ramp_steps", "final_num_steps"])
def test_ramps_have_steps(field: str) -> None:
    fields = {"learning_rate": 1, "final_learning_rate": 0, "num_ramp_steps": 10, "final_num_steps": 20, field: 0}
    with pytest.raises(ValidationError, match=field):
        LinearRampToCosine(**fields)

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from embsnap.config.initializer import InitializerConfig, NormalInit, ZerosInit


def _validate(data: object) -> InitializerConfig:
    return InitializerConfig.model_validate(data)


@pytest.mark.parametrize(
    ("kind", "fields", "needs_old_rows"),
    [
        ("zeros", {}, False),
        ("constant", {"value": -1.5}, False),
        ("uniform", {"bound": 0.1}, False),
        ("uniform", {}, False),
        ("normal", {"mean": 1, "std": 0.5}, False),
        ("truncated_normal", {"std": None}, False),
        ("mean", {}, True),
        ("mean_covariance", {}, True),
        ("donor", {"id": 7}, True),
        ("donor", {"column": "donor_id"}, True),
    ],
)
def test_every_kind(kind: str, fields: dict[str, Any], needs_old_rows: bool) -> None:
    initializer = _validate({kind: fields, "seed": 3, "max_norm": 2})
    assert (initializer.kind, initializer.needs_old_rows) == (kind, needs_old_rows)
    assert initializer.init.model_dump(exclude_none=True).items() >= {k: v for k, v in fields.items() if v}.items()
    assert (initializer.seed, initializer.max_norm) == (3, 2.0)


def test_a_string_is_short_for_a_kind_without_parameters() -> None:
    assert _validate("zeros") == InitializerConfig(zeros=ZerosInit())
    assert _validate("truncated_normal").kind == "truncated_normal"


def test_a_string_does_not_stand_for_a_kind_that_needs_parameters() -> None:
    with pytest.raises(ValidationError, match=r"normal\.std"):
        _validate("normal")


@pytest.mark.parametrize("data", ["zero", "seed", 0, ["zeros"], True])
def test_anything_else_is_refused_with_the_short_forms(data: object) -> None:
    with pytest.raises(ValidationError, match="or one of zeros, uniform, truncated_normal, mean, mean_covariance"):
        _validate(data)


@pytest.mark.parametrize("data", [{}, {"seed": 1}, {"zeros": {}, "mean": {}}, {"zeros": None}])
def test_there_is_exactly_one_kind(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give exactly one of zeros, constant"):
        _validate(data)


@pytest.mark.parametrize("value", ["17", 17, -1, 2**63, 2**64 - 1])
def test_a_donor_keeps_the_type_of_its_id(value: int | str) -> None:
    donor = _validate({"donor": {"id": value}}).donor
    assert donor is not None
    assert (type(donor.id), donor.id) == (type(value), value)


@pytest.mark.parametrize("value", [True, 1.5, [1], 2**64, -(2**63) - 1])
def test_what_is_no_entity_id_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="expected an entity id"):
        _validate({"donor": {"id": value}})


@pytest.mark.parametrize("donor", [{}, {"id": 1, "column": "c"}])
def test_a_donor_is_one_id_or_one_column(donor: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give exactly one of id, column"):
        _validate({"donor": donor})


@pytest.mark.parametrize(
    "data",
    [
        {"uniform": {"bound": 0}},
        {"normal": {"std": 0}},
        {"normal": {"std": -1}},
        {"truncated_normal": {"std": 0}},
        {"constant": {"value": float("nan")}},
        {"zeros": {}, "max_norm": 0},
    ],
)
def test_bounds(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"greater than|finite"):
        _validate(data)


def test_an_initializer_passes_as_it_is() -> None:
    initializer = InitializerConfig(normal=NormalInit(std=1))
    assert _validate(initializer) == initializer

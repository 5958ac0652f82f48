from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import ValidationError

from embsnap.config.base import AtMostOneOf, BaseConfig, OneOf


class Shape(BaseConfig):
    circle: Annotated[float | None, OneOf("shape")] = None
    square: Annotated[float | None, OneOf("shape")] = None
    inner: Annotated[str | None, AtMostOneOf("label")] = None
    outer: Annotated[str | None, AtMostOneOf("label")] = None
    colour: str = "red"


def test_chosen_names_the_field_that_is_given() -> None:
    assert Shape(square=2).chosen("shape") == ("square", 2.0)


def test_a_zero_is_given_and_a_null_is_not() -> None:
    assert Shape(circle=0.0, square=None).chosen("shape") == ("circle", 0.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"give exactly one of circle, square \(found none of them\)"),
        ({"circle": None}, r"give exactly one of circle, square \(found none of them\)"),
        ({"circle": 1, "square": 2}, r"give exactly one of circle, square \(found circle, square\)"),
        ({"circle": 1, "inner": "a", "outer": "b"}, r"give at most one of inner, outer \(found inner, outer\)"),
    ],
)
def test_groups_are_checked(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Shape(**fields)


def test_at_most_one_of_may_be_none() -> None:
    assert Shape(circle=1).inner is None


def test_groups_of_one_name_and_two_kinds_are_two_groups() -> None:
    class Mixed(BaseConfig):
        a: Annotated[int | None, OneOf("x")] = None
        b: Annotated[int | None, AtMostOneOf("x")] = None

    assert Mixed.groups() == {OneOf("x"): ("a",), AtMostOneOf("x"): ("b",)}


def test_null_means_the_default() -> None:
    assert Shape(circle=1, colour=None).colour == "red"


def test_a_null_for_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Shape(circle=1, size=None)


def test_configs_are_frozen_and_compare_by_value() -> None:
    shape = Shape(circle=1)
    with pytest.raises(ValidationError, match="frozen"):
        shape.circle = 2
    assert shape == Shape(circle=1.0)
    assert hash(shape) == hash(Shape(circle=1.0))


def test_descriptions_come_from_the_docstrings() -> None:
    class Documented(BaseConfig):
        size: int
        """In rows."""

    assert Documented.model_json_schema()["properties"]["size"]["description"] == "In rows."

from __future__ import annotations

import pytest
from pydantic import ValidationError

from embsnap.config.base import BaseConfig
from embsnap.config.numbers import AnyFloat, AnyInt, Count, Index, Momentum, NonNegativeFloat, PositiveFloat, Seed


class Numbers(BaseConfig):
    any_int: AnyInt = 0
    count: Count = 1
    index: Index = 0
    seed: Seed = 0
    any_float: AnyFloat = 0
    rate: NonNegativeFloat = 0
    positive: PositiveFloat = 1
    momentum: Momentum = 0


@pytest.mark.parametrize(
    ("written", "number"),
    [("1e6", 10**6), ("1_000", 1000), ("12.0", 12), (7.0, 7), ("-3", -3), (2**70, 2**70), (" 5 ", 5)],
)
def test_integers_are_read_leniently(written: object, number: int) -> None:
    value = Numbers(any_int=written).any_int
    assert (type(value), value) == (int, number)


@pytest.mark.parametrize("written", ["1.5", 1.5, "one", "", "nan", "inf", "1e1000000000", True, [1]])
def test_what_spells_no_integer_is_refused(written: object) -> None:
    with pytest.raises(ValidationError, match="any_int"):
        Numbers(any_int=written)


@pytest.mark.parametrize(("written", "number"), [("1e-3", 0.001), (1, 1.0), ("0.5", 0.5)])
def test_floats_are_read_leniently(written: object, number: float) -> None:
    assert Numbers(any_float=written).any_float == number


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("any_float", True),
        ("any_float", float("nan")),
        ("any_float", ".inf"),
        ("rate", -0.1),
        ("rate", float("inf")),
        ("positive", 0),
        ("momentum", 1),
        ("count", 0),
        ("count", True),
        ("index", -1),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_bounds(field: str, written: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Numbers(**{field: written})


def test_true_is_named_in_the_message() -> None:
    with pytest.raises(ValidationError, match="expected a number, found true"):
        Numbers(count=True)

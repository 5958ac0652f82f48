"""The number types of configuration fields.

YAML reads `1e-3` and `1e6` as strings, and people write `true` where a number is due: strings that spell a
number are taken, true and false are refused.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator, Field

__all__ = ["AnyFloat", "AnyInt", "Count", "Index", "Momentum", "NonNegativeFloat", "PositiveFloat", "Seed"]

_MOST_DIGITS = 30


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, found {str(value).lower()}")
    return value


def _integer(value: object) -> object:
    """The integer that a string such as `1e6`, `1_000` or `12.0` spells; anything else as it is."""
    _no_truth(value)
    if not isinstance(value, str):
        return value
    try:
        number = Decimal(value.replace("_", ""))
    except InvalidOperation:
        return value
    if not number.is_finite() or number.adjusted() > _MOST_DIGITS or number != number.to_integral_value():
        return value
    return int(number)


AnyInt = Annotated[int, BeforeValidator(_integer)]
Count = Annotated[int, Field(gt=0, lt=2**48), BeforeValidator(_integer)]
"""Of rows, columns, entities: below what no machine holds, so that bytes of one column fit into 64 bits."""
Index = Annotated[int, Field(ge=0), BeforeValidator(_integer)]
Seed = Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(_integer)]
AnyFloat = Annotated[float, BeforeValidator(_no_truth)]
NonNegativeFloat = Annotated[float, Field(ge=0), BeforeValidator(_no_truth)]
PositiveFloat = Annotated[float, Field(gt=0), BeforeValidator(_no_truth)]
Momentum = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_no_truth)]

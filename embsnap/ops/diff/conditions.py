"""Conditions as people type them: `cosine.p5<0.8`, `user:born_share > 0.1`.

    condition := [table ':'] measure operator number
    measure   := name ('.' name)*
    operator  := '<' | '<=' | '>' | '>=' | '==' | '!='

Nothing is evaluated but that.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, UsageError

__all__ = ["Condition", "parse_condition"]

_OPERATORS: dict[str, Callable[[Any, float], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_CONDITION = re.compile(
    rf"\s*(?:(?P<table>.+):)?\s*(?P<measure>[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*)\s*"
    rf"(?P<operator><=|>=|==|!=|<|>)\s*(?P<number>{_NUMBER})\s*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition."""

    text: str
    """As typed."""
    table: str | None
    """The one table that it is about; None for all."""
    measure: str
    operator: str
    number: float

    def holds(self, value: float) -> bool:
        """Whether a value meets it; NaN meets `!=` alone."""
        return bool(_OPERATORS[self.operator](value, self.number))

    def count(self, values_N: NDArray[np.float64]) -> int:
        """How many of some values meet it; NaN stands for no value."""
        met_N = np.asarray(_OPERATORS[self.operator](values_N, self.number))
        return int(np.count_nonzero(met_N & ~np.isnan(values_N)))


def parse_condition(text: str, option: str) -> Condition:
    """Understand a condition.

    Raises:
        UsageError: `bad-option`: it is none.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "is no condition",
            where=f"{option} {text!r}",
            expected="a measure, one of < <= > >= == != and a number, such as cosine.p5<0.8 or user:gone>0",
            hint="put it in quotes, so that the shell does not take < for a redirection",
        )
    return Condition(text.strip(), match["table"], match["measure"], match["operator"], float(match["number"]))

"""Spans of time as people write them."""

from __future__ import annotations

import re
from typing import Any

import click

__all__ = ["Duration", "format_duration", "parse_duration"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw])", re.IGNORECASE | re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds.

    Raises:
        ValueError: It is no number with one of the units s, m, h, d, w; only 0 needs none.

    >>> parse_duration("24h"), parse_duration("1.5 d"), parse_duration("0")
    (86400.0, 129600.0, 0.0)
    """
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    match = _DURATION.fullmatch(stripped)
    if match is None:
        raise ValueError(f"{text!r} is no span of time; write for example 90m, 24h or 7d")
    return float(match[1]) * _SECONDS[match[2].lower()]


def format_duration(seconds: float) -> str:
    """For people, in the largest unit that leaves at least 1.

    >>> format_duration(90), format_duration(86400), format_duration(200000), format_duration(0.2)
    ('1.5 m', '1 d', '2.3 d', '0 s')
    """
    unit = max((name for name in "smhd" if _SECONDS[name] <= seconds), key=_SECONDS.__getitem__, default="s")
    return f"{round(seconds / _SECONDS[unit], 1 if unit != 's' else 0):g} {unit}"


class Duration(click.ParamType[float]):
    """An option in seconds that is written with its unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it, or fail as click does."""
        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

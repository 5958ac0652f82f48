"""How many numbers are spread: a few figures and a histogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Distribution", "Histogram"]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of the values between edges. A bin holds its lower edge and not its upper one; the last holds both."""

    edges: tuple[float, ...]
    """Ascending, one more than there are counts."""
    counts: tuple[int, ...]
    num_below: int = 0
    """Values below the first edge."""
    num_above: int = 0
    """Values above the last edge."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of `num` finite values, at least one."""

    num: int
    mean: float
    std: float
    """Over `num`, not one less."""
    min: float
    max: float
    percentiles: Mapping[str, float]
    """By name, ascending: `p5` is the value below which 5 % of the values lie, between two values linearly."""
    histogram: Histogram

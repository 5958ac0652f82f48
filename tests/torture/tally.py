"""What was tried, and what it came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["LossError", "Tally", "table"]


class LossError(Exception):
    """Something was lost, left half done, or not found: what torture is there to show."""


@dataclass
class Tally:
    """One kind of trial."""

    what: str
    """`kill -9 while warmstart writes`."""
    outcomes: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)
    """What happened, with what is needed to repeat it."""

    @property
    def num_tried(self) -> int:
        """Trials, however they ended."""
        return sum(self.outcomes.values()) + len(self.losses)


def table(tallies: Sequence[Tally]) -> str:
    """A Markdown table."""
    lines = ["| what | tried | outcomes | losses |", "| --- | --- | --- | --- |"]
    for tally in tallies:
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in tally.outcomes.most_common())
        lines.append(f"| {tally.what} | {tally.num_tried:,} | {outcomes} | {len(tally.losses)} |")
    total, lost = sum(each.num_tried for each in tallies), sum(len(each.losses) for each in tallies)
    return "\n".join([*lines, f"| all | {total:,} | | {lost} |"])

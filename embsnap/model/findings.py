"""A finding: a problem in something that was read, as a value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Severity", "worst"]


class Severity(StrEnum):
    """How bad a finding is; `verify` and `vocab validate` exit 1 on errors and warnings."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of problem at one place.

    Attributes:
        severity: Error, warning or note.
        kind: Stable string, e.g. `duplicate-ids`.
        place: URI, table, entry path or column it is about.
        message: One sentence with the figures.
        remedy: What to do about it.
        count: How many times it occurs there.
        examples: A few of the occurrences, as text.
    """

    severity: Severity
    kind: str
    place: str
    message: str
    remedy: str = ""
    count: int = 1
    examples: tuple[str, ...] = ()


def worst(findings: Iterable[Finding]) -> Severity | None:
    """The severest of the findings, or None if there are none."""
    order = list(Severity)
    return min((finding.severity for finding in findings), key=order.index, default=None)

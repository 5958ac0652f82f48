"""What a check comes to: something was looked at, or there is a reason why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from embsnap.model.findings import Finding, Severity, worst
from embsnap.model.verification import Level, LevelReport, Outcome

__all__ = ["Checked", "Skipped", "at_most", "is_bad", "report"]

_MOST_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Checked:
    """Something was looked at."""

    num_checked: int
    unit: str
    findings: tuple[Finding, ...]
    left_out: str | None = None
    """What was not looked at, and why."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing was looked at."""

    reason: str


def report(level: Level, result: Checked | Skipped, *, is_demanded: bool) -> LevelReport:
    """One level's result. To have looked at nothing is to have skipped, and to skip what was demanded is to fail."""
    if isinstance(result, Checked) and not result.num_checked and not result.findings:
        result = Skipped(result.left_out or f"there are no {result.unit} to check")
    if isinstance(result, Skipped):
        return LevelReport(level, Outcome.FAILED if is_demanded else Outcome.SKIPPED, 0, "", result.reason, ())
    outcome = Outcome.FAILED if is_bad(result.findings) else Outcome.PASSED
    return LevelReport(level, outcome, result.num_checked, result.unit, result.left_out, result.findings)


def is_bad(findings: Iterable[Finding]) -> bool:
    """Whether an error or a warning is among them."""
    return worst(findings) in (Severity.ERROR, Severity.WARNING)


def at_most(findings: Iterable[Finding], most: int = _MOST_FINDINGS) -> Iterator[Finding]:
    """The first findings, and one that counts the others of each kind and severity."""
    each = iter(findings)
    yield from islice(each, most)
    rest: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in each:
        rest.setdefault((finding.severity, finding.kind), []).append(finding)
    for (severity, kind), others in rest.items():
        examples = tuple(finding.place for finding in others[:3])
        message = f"{len(others)} more of this kind"
        yield Finding(severity, kind, others[0].place, message, others[0].remedy, len(others), examples)

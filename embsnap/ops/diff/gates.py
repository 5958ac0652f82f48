"""Conditions held against what a comparison found: `--fail-if 'cosine.p5<0.8'`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from embsnap.errors import ErrorKind, UsageError
from embsnap.model.distribution import Distribution
from embsnap.model.snapshot_diff import Drift, Gate, TableDiff
from embsnap.ops.diff.conditions import Condition, parse_condition
from embsnap.ops.diff.distributions import DEFAULT_PERCENTILES, percentile_name, percentile_of
from embsnap.ops.diff.drift import DRIFT_MEASURES
from embsnap.ops.diff.options import DiffOptions

__all__ = ["Conditions", "evaluate"]

_FIGURES = ("min", "max", "mean", "std")
_SHARES: dict[str, Callable[[TableDiff], tuple[int, int] | None]] = {
    "born": lambda table: (table.matching.num_born, table.matching.num_shared + table.matching.num_born),
    "gone": lambda table: (table.matching.num_gone, table.matching.num_shared + table.matching.num_gone),
    "moved": lambda table: (table.matching.num_moved, table.matching.num_shared),
    "identical": lambda table: _of_drift(table, "num_identical"),
    "non_finite": lambda table: _of_drift(table, "num_non_finite"),
    "zero": lambda table: _of_drift(table, "num_zero"),
    "differing": lambda table: _differing(table),
}
"""Counts, and what each is a share of."""
_OTHERS: dict[str, Callable[[TableDiff], float | None]] = {
    "shared": lambda table: float(table.matching.num_shared),
    "overlap": lambda table: None if table.neighbors is None else table.neighbors.mean,
    "procrustes.residual": lambda table: None if table.procrustes is None else table.procrustes.residual,
}


class Conditions:
    """The conditions and thresholds of a run, understood and checked before anything is read.

    Attributes:
        gates: Of `--fail-if`.
        thresholds: Of `--threshold`.
        percentiles: All that are asked for, by default or in a gate.
    """

    def __init__(self, options: DiffOptions) -> None:
        """Parse them.

        Raises:
            UsageError: `bad-option`: one is no condition, there is no such measure, or it needs another option.
        """
        self.gates = [parse_condition(text, "--fail-if") for text in options.fail_if]
        self.thresholds = [parse_condition(text, "--threshold") for text in options.thresholds]
        for threshold in self.thresholds:
            if threshold.measure not in DRIFT_MEASURES or threshold.table is not None:
                raise _unknown("--threshold", threshold.text, threshold.measure, list(DRIFT_MEASURES))
        named = [_check(gate, options) for gate in self.gates]
        self.percentiles = sorted({*DEFAULT_PERCENTILES, *(value for value in named if value is not None)})


def evaluate(gates: Sequence[Condition], tables: Sequence[TableDiff]) -> tuple[Gate, ...]:
    """Each condition against each table that it is about; one without any table or value counts as met."""
    results = []
    for gate in gates:
        concerned = [table for table in tables if gate.table in (None, table.name, table.a.name, table.b.name)]
        for table in concerned:
            value = _value(table, gate.measure)
            results.append(Gate(gate.text, table.name, value, value is None or gate.holds(value)))
        if not concerned:
            results.append(Gate(gate.text, gate.table, None, True))
    return tuple(results)


def _check(gate: Condition, options: DiffOptions) -> float | None:
    """Refuse a measure that there is none of; the percentile that it names, if it does."""
    head, _, figure = gate.measure.rpartition(".")
    known = [*_SHARES, *(f"{name}_share" for name in _SHARES), *_OTHERS]
    known += [f"{name}.{figure}" for name in DRIFT_MEASURES for figure in (*_FIGURES, "p5", "p50")]
    percentile = percentile_of(figure)
    is_drift = head.removeprefix("procrustes.") in DRIFT_MEASURES and (figure in _FIGURES or percentile is not None)
    if not is_drift and gate.measure not in known:
        raise _unknown("--fail-if", gate.text, gate.measure, known)
    _check_needs(gate, options)
    return percentile if is_drift else None


def _check_needs(gate: Condition, options: DiffOptions) -> None:
    needs = (
        (gate.measure == "overlap" and not options.neighbors, "--neighbors"),
        (gate.measure.startswith("procrustes.") and not options.procrustes, "--procrustes"),
        (gate.measure.startswith("differing") and not options.bit_exact, "--bit-exact"),
    )
    for is_lacking, option in needs:
        if is_lacking:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "asks for what is not measured",
                where=f"--fail-if {gate.text!r}",
                expected=f"{option} beside it",
                hint=f"add {option}",
            )


def _unknown(option: str, text: str, measure: str, known: Sequence[str]) -> UsageError:
    close = difflib.get_close_matches(measure, known, n=3)
    return UsageError(
        ErrorKind.BAD_OPTION,
        "names no measure",
        where=f"{option} {text!r}",
        expected=f"one of {', '.join(known)}" + (" (any pN from p0 to p100)" if option == "--fail-if" else ""),
        found=measure,
        hint=f"did you mean {' or '.join(close)}?" if close else None,
    )


def _value(table: TableDiff, measure: str) -> float | None:
    if measure in _OTHERS:
        return _OTHERS[measure](table)
    name = measure.removesuffix("_share")
    if name in _SHARES:
        found = _SHARES[name](table)
        if found is None:
            return None
        num, total = found
        return float(num) if name == measure else num / total if total else None
    head, _, figure = measure.rpartition(".")
    drift = table.drift
    if head.startswith("procrustes."):
        drift = None if table.procrustes is None else table.procrustes.drift
    return None if drift is None else _figure(drift, head.removeprefix("procrustes."), figure)


def _figure(drift: Drift, measure: str, figure: str) -> float | None:
    found: Distribution | None = getattr(drift, measure)
    if found is None:
        return None
    percentile = percentile_of(figure)
    if percentile is None:
        return float(getattr(found, figure))
    return found.percentiles[percentile_name(percentile)]


def _of_drift(table: TableDiff, name: str) -> tuple[int, int] | None:
    return None if table.drift is None else (getattr(table.drift, name), table.matching.num_shared)


def _differing(table: TableDiff) -> tuple[int, int] | None:
    """None as well where weights, or a state that both tables have, are of two forms and could not be compared."""
    compared = {f"state {bits.what}" for bits in table.bits or ()}
    changed = {change.what for change in table.changes if None not in (change.a, change.b)}
    wanted = {"state weight", *(what for what in changed if what.startswith("state "))}
    if table.bits is None or not wanted <= compared:
        return None
    return sum(bits.num_differing for bits in table.bits), sum(bits.num_rows for bits in table.bits)

"""Statistics as text: CSV, and OpenMetrics for Prometheus."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from embsnap.model.statistics import Statistic, statistics_of
from embsnap.model.table_stats import SnapshotStats

__all__ = ["csv_text", "openmetrics_text"]

_CSV_HEADER = ("uri", "step", "table", "statistic", "part", "value", "low", "high")
_PREFIX = "embsnap_"


def csv_text(stats: SnapshotStats) -> str:
    """One line for each table, statistic and part, under a header; RFC 4180, with `\\n` between lines."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_HEADER)
    for found in statistics_of(stats):
        bounds = ("", "") if found.interval is None else (found.interval.low, found.interval.high)
        step = "" if stats.step is None else stats.step
        writer.writerow((stats.uri, step, found.table, found.name, found.part, found.value, *bounds))
    return text.getvalue()


def openmetrics_text(stats: SnapshotStats) -> str:
    """Gauges named `embsnap_<statistic>` with the labels `table` and `part`, in OpenMetrics 1.0.

    `norm.p50` is `embsnap_norm_p50`. `embsnap_snapshot_step` has the step, so that an alert can tell a stale file.
    """
    return "".join(f"{line}\n" for line in _openmetrics_lines(stats))


def _openmetrics_lines(stats: SnapshotStats) -> Iterator[str]:
    families: dict[str, list[Statistic]] = {}
    for found in statistics_of(stats):
        families.setdefault(_PREFIX + found.name.replace(".", "_"), []).append(found)
    if stats.step is not None:
        yield f"# TYPE {_PREFIX}snapshot_step gauge"
        yield f"# HELP {_PREFIX}snapshot_step Training step of the snapshot."
        yield f"{_PREFIX}snapshot_step {stats.step}"
    for name, members in families.items():
        yield f"# TYPE {name} gauge"
        yield f"# HELP {name} {members[0].name} of an embedding table, see docs/statistics.md."
        for found in members:
            labels = f'table="{_escaped(found.table)}",part="{_escaped(found.part)}"'
            yield f"{name}{{{labels}}} {_number(found.value)}"
    yield "# EOF"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")

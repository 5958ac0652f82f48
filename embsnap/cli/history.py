"""`embsnap history`."""

from __future__ import annotations

from typing import Any

import click

from embsnap.cli.output import Write, emit, format_bytes, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.stats_options import options_of, stats_options
from embsnap.model.run_history import RunHistory

__all__ = ["command"]

_SHOWN = {
    "norm.mean": "mean norm",
    "norm.p50": "median",
    "norm.p99": "p99",
    "rows.dead": "dead",
    "rows.exploded": "exploded",
    "rows.non_finite": "non-finite",
    "rows.never_updated": "never updated",
    "spectrum.effective_rank": "effective rank",
    "cosine.mean": "average cosine",
}


@click.command("history")
@click.argument("run", metavar="RUN_DIR")
@click.option("--out", metavar="URI.parquet", help="Keep the statistics here, and read only steps it does not have.")
@stats_options
def command(run: str, out: str | None, as_json: bool, quiet: bool, dry_run: bool, **typed: Any) -> int:
    """Show the statistics of every step of a run as series.

    RUN_DIR holds one snapshot for each step, named by the step's number. With --out the statistics of each step are
    kept in a parquet history, as `embsnap stats --out` appends to it, and a step is read once: again only if its
    snapshot was replaced, or other options are given.

    \b
    Examples:
      embsnap history /data/run7
      embsnap history /data/run7 --out /data/run7-stats.parquet --without duplicates
      embsnap history gs://models/run7 --config job.yaml --out gs://models/run7-stats.parquet --json

    \b
    Exit codes:
      0  computed (or planned), whatever the statistics are
      2  usage
      3  no committed step, or no such table
      4  a step is not readable, or a file of the history is damaged
      5  a vocabulary does not fit its table, or a table has no norms
      6  storage, permission, disk full
      7  refused: --out is no history
    """
    from embsnap.ops.history import plan_history

    scan = plan_history(run, options_of(**typed), history=_history_uri(out))
    if dry_run:
        emit(scan.result(), as_json=as_json)
        return 0
    with progress_on_stderr(quiet=quiet) as progress:
        found = scan.compute(progress=progress)
    emit(found, as_json=as_json)
    return 0


def _history_uri(out: str | None) -> str | None:
    if out is not None and not out.endswith(".parquet"):
        raise click.BadParameter("must end in .parquet", param_hint="--out")
    return out


@renders(RunHistory)
def _render(found: RunHistory, write: Write) -> None:
    num_new = sum(step.is_new for step in found.steps)
    write(f"run: {found.uri}, {len(found.steps)} committed steps, {num_new} of them read now")
    values = {(series.table, series.statistic): series.values for series in found.series if series.part == "all"}
    for name in dict.fromkeys(series.table for series in found.series):
        shown = {header: values[name, statistic] for statistic, header in _SHOWN.items() if (name, statistic) in values}
        rows = [(step.step, *(series[i] for series in shown.values())) for i, step in enumerate(found.steps)]
        write("")
        for line in table(rows, (f"{name}: step", *shown)):
            write(line)
    write("")
    write_findings(found.findings, write)
    if found.history is not None:
        write(f"kept in: {found.history}")
    write(f"read {format_bytes(found.num_bytes_read)} in {found.seconds:.1f} s")

"""`embsnap report`."""

from __future__ import annotations

from typing import Any

import click

from embsnap import __version__
from embsnap.cli.options import by_table_option, require_out
from embsnap.cli.output import Write, emit, format_bytes, renders, to_json, to_text, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.stats_options import options_of, stats_options
from embsnap.report.contents import Report, ReportOutline

__all__ = ["command"]


@click.command("report")
@click.argument("source")
@click.option("--out", metavar="URI.html", help="The page to write, which must not exist yet.")
@click.option("--before", metavar="URI", help="Compare with this snapshot; of a run, else, with the step before.")
@click.option("--no-compare", "compare", flag_value=False, default=True, help="Compare with no snapshot.")
@by_table_option("--vocab-before", "vocab_before", "Vocabulary of a table of --before, if not the one it records")
@click.option("--by-position", is_flag=True, help="Match rows with those before by their index, not by entity.")
@click.option("--procrustes", is_flag=True, help="Show the drift also after the rotation that fits best.")
@click.option(
    "--neighbors",
    type=click.IntRange(min=0, max=1000),
    default=10,
    show_default=True,
    help="Nearest neighbours of each sampled entity to compare; 0 compares none.",
)
@click.option("--show", type=click.IntRange(min=0), default=20, show_default=True, help="Entities in each list.")
@click.option("--history", metavar="URI.parquet", help="History of a run's statistics: known steps are not read again.")
@click.option(
    "--with",
    "results",
    multiple=True,
    metavar="URI.json",
    help="Show this result too, of vocab coverage, warmstart, stats, diff or history with --json; may be repeated.",
)
@stats_options
def command(source: str, out: str | None, as_json: bool, quiet: bool, dry_run: bool, **typed: Any) -> int:
    """Write a page that shows what a snapshot or a run is like: one file that a team opens.

    SOURCE is a snapshot, the directory of a run, or a result as JSON, such as a warm start's. The page holds
    statistics, drift since --before, coverage, shards, findings and a run's history, as numbers and as charts; it
    needs no network. The statistics are those of `embsnap stats`, the drift that of `embsnap diff`. With
    --vocab TABLE=URI rows are compared by entity, and shown by popularity if the vocabulary has counts.

    \b
    Examples:
      embsnap report /data/run7 --out run7.html
      embsnap report /data/run7/12000 --before /data/run7/11000 --vocab user=/data/vocab/user --out today.html
      embsnap report /data/warm --with coverage.json --with warmstart.json --out today.html
      embsnap report warmstart.json --out warmstart.html

    \b
    Exit codes:
      0  written (or planned), whatever it shows
      2  usage, or a file of JSON that is no result
      3  nothing there, no such step, table or vocabulary
      4  not a committed, readable snapshot
      5  vocabularies do not fit, or a table has no norms
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    from embsnap.report.plan import plan_report
    from embsnap.report.writing import check_destination, write_report

    require_out(out, dry_run=dry_run)
    storage = typed["storage_options"]
    if out is not None:
        check_destination(out, storage)
    plan = plan_report(source, _options(**typed))
    if dry_run or out is None:
        emit(plan.outline(out), as_json=as_json)
        return 0
    with progress_on_stderr(quiet=quiet) as progress:
        report = plan.compute(tool=f"embsnap {__version__}", progress=progress)
    emit(write_report(report, out, storage, to_json), as_json=as_json)
    return 0


def _options(
    *,
    before: str | None,
    compare: bool,
    vocab_before: dict[str, str],
    show: int,
    history: str | None,
    results: tuple[str, ...],
    **typed: Any,
) -> Any:
    from embsnap.ops.diff.options import DiffOptions
    from embsnap.report.options import ReportOptions

    if history is not None and not history.endswith(".parquet"):
        raise click.BadParameter("must end in .parquet", param_hint="--history")
    compared = {name: typed.pop(name) for name in ("by_position", "procrustes", "neighbors")}
    stats = options_of(**typed)
    diff = DiffOptions(
        vocab_a=vocab_before,
        columns=stats.columns,
        num_shown=show,
        threads=stats.threads,
        storage_options=stats.storage_options,
        **compared,
    )
    return ReportOptions(stats=stats, diff=diff, before=before, compare=compare, history=history, results=results)


@renders(ReportOutline)
def _render_outline(plan: ReportOutline, write: Write) -> None:
    for each in plan.stats:
        write(to_text(each).rpartition("\n")[0])
    if plan.before is not None:
        write(f"to compare: {plan.before} and {plan.snapshot}")
    for schema in plan.results:
        write(f"to show too: {schema}")
    if plan.destination is not None:
        write(f"to write: {plan.destination}")
    write(f"dry run, nothing written: {format_bytes(plan.num_bytes_to_read)} to read")


@renders(Report)
def _render(report: Report, write: Write) -> None:
    about = report.source if report.inspection is None else report.inspection.uri
    write(f"report on: {about}, tables: {0 if report.stats is None else len(report.stats.tables)}")
    if report.diff is not None:
        write(f"compared with: {report.diff.a.uri}")
    if report.history is not None:
        write(f"steps of {report.history.uri}: {len(report.history.steps)}")
    write_findings(report.findings, write)
    write(f"wrote {report.destination}; open it in a browser, it needs no network")

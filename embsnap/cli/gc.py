"""`embsnap gc`."""

from __future__ import annotations

import click

from embsnap.cli.durations import Duration, format_duration
from embsnap.cli.options import json_option, quiet_option, storage_option
from embsnap.cli.output import Write, emit, format_bytes, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.model.collection import GcResult, Leftover

__all__ = ["command"]

_HEADERS = ("", "what", "name", "objects", "bytes", "age", "under")


@click.command("gc")
@click.argument("uri")
@click.option(
    "--older-than",
    "older_than_s",
    type=Duration(),
    default="24h",
    show_default=True,
    metavar="AGE",
    help="Keep what was written to since: 90m, 24h, 7d. 0 takes what is being written now, too.",
)
@click.option("--apply", is_flag=True, help="Delete. Without it, only what would be deleted is shown.")
@storage_option
@json_option
@quiet_option
def command(
    uri: str, older_than_s: float, apply: bool, storage_options: dict[str, str], as_json: bool, quiet: bool
) -> int:
    """Remove what runs and copies left under URI that did not come to their end.

    URI is where a snapshot or a vocabulary is or was to be, or the directory of a run, whose steps are looked at as
    well. Only what embsnap wrote is considered: objects of runs that no committed snapshot names, those of copies that
    were not finished, sidecars of metadata that are not there, and what writers left that died, parts of uploads that
    S3 keeps included. A run or a copy whose newest object is younger than --older-than may still be at work and is
    kept. Nothing is deleted without --apply.

    \b
    Examples:
      embsnap gc runs/7
      embsnap gc gs://models/ranking --older-than 7d --apply

    \b
    Exit codes:
      0  done (or shown)
      1  done, but steps with unreadable metadata were left alone
      2  usage
      3  there is nothing
      4  metadata that cannot be read, so that nobody can tell what is needed
      6  storage, permission; or a snapshot was committed meanwhile
    """
    from embsnap.ops.gc import GcOptions, apply_gc, plan_gc

    plan = plan_gc(uri, GcOptions(older_than_s, storage_options))
    with progress_on_stderr(quiet=quiet) as progress:
        result = apply_gc(plan, progress=progress) if apply else plan.result()
    emit(result, as_json=as_json)
    return 1 if result.findings else 0


@renders(GcResult)
def _render(result: GcResult, write: Write) -> None:
    if result.leftovers:
        for line in table(map(_cells, result.leftovers), _HEADERS):
            write(line)
        write("")
    write_findings(result.findings, write)
    snapshots = "1 committed snapshot" if result.num_snapshots == 1 else f"{result.num_snapshots} committed snapshots"
    write(f"{result.uri}: {snapshots}; what was written to in the last {format_duration(result.older_than_s)} is kept")
    amount = f"{result.num_objects:,} objects, {format_bytes(result.num_bytes)}"
    if not result.num_objects:
        write("nothing to delete")
    elif result.applied:
        write(f"deleted {amount}")
    else:
        write(f"dry run, nothing deleted: {amount} to delete; give --apply to delete them")


def _cells(leftover: Leftover) -> tuple[object, ...]:
    verdict = "delete" if leftover.collected else "keep"
    age = None if leftover.age_s is None else format_duration(leftover.age_s)
    size = (leftover.num_objects, format_bytes(leftover.num_bytes))
    return (verdict, leftover.kind.value, leftover.name, *size, age, leftover.root)

"""`embsnap copy`."""

from __future__ import annotations

import click

from embsnap.cli.options import (
    dry_run_option,
    json_option,
    quiet_option,
    storage_option,
    threads_option,
    to_storage_option,
)
from embsnap.cli.output import Write, emit, format_bytes, renders, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.model.copying import CopyResult, CopyTally, CopyWhat

__all__ = ["command"]


@click.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("destination", metavar="TO")
@dry_run_option
@threads_option
@storage_option
@to_storage_option
@json_option
@quiet_option
def command(
    source: str,
    destination: str,
    dry_run: bool,
    threads: int,
    storage_options: dict[str, str],
    to_storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Copy a snapshot or a vocabulary, verified and resumable, between any two stores.

    FROM is a committed snapshot (RUN@latest or RUN@STEP names one of a run), a directory or a quoted glob of parquet
    files, or one file. Every byte is summed while it is read and compared with what the sidecar or the server says. A
    snapshot keeps its bytes and its names; it becomes visible in TO in one step, when all of it is there. A copy that
    is stopped keeps the objects that it has finished: the same command again compares them and goes on.

    \b
    Examples:
      embsnap copy runs/7@latest gs://models/ranking/7
      embsnap copy gs://models/ranking/7 /data/ranking-7 --dry-run
      embsnap copy gs://vocabularies/user/2026-11-21 /data/user
      embsnap copy user.parquet s3://vocabularies/user/day2.parquet

    \b
    Exit codes:
      0  copied (or planned)
      2  usage
      3  there is nothing to copy
      4  a torn or damaged snapshot
      6  storage, permission, disk full; or FROM was replaced meanwhile
      7  refused: TO holds something else, or another writer was faster
    """
    from embsnap.ops.copy import CopyOptions, plan_copy, write_copy

    if to_storage_options and "timeout" in storage_options:
        to_storage_options.setdefault("timeout", storage_options["timeout"])
    options = CopyOptions(
        threads=threads, storage_options=storage_options, to_storage_options=to_storage_options or None
    )
    plan = plan_copy(source, destination, options)
    with progress_on_stderr(quiet=quiet) as progress:
        result = plan.result() if dry_run else write_copy(plan, progress=progress)
    emit(result, as_json=as_json)


@renders(CopyResult)
def _render(result: CopyResult, write: Write) -> None:
    write(f"{_NAMES[result.what]} {result.source}: {_amount(result.total)}")
    write(f"to {result.destination}")
    if result.present.num_objects:
        proven = "and compared" if result.applied else "by their size"
        write(f"there already {proven}: {_amount(result.present)}")
    known = result.checked
    unknown = CopyTally(result.total.num_objects - known.num_objects, result.total.num_bytes - known.num_bytes)
    write(f"checksums known beforehand: {_amount(known)}; not known: {_amount(unknown)}")
    write_findings(result.findings, write)
    write(_summary(result))


_NAMES = {CopyWhat.SNAPSHOT: "snapshot", CopyWhat.FILES: "parquet files of", CopyWhat.FILE: "file"}


def _summary(result: CopyResult) -> str:
    copied = _amount(result.copied)
    if not result.applied:
        return f"dry run, nothing written: {copied} to copy, {format_bytes(result.peak_memory_bytes)} of memory"
    rate = format_bytes(int(result.copied.num_bytes / max(result.seconds, 1e-9)))
    return f"copied {copied} in {result.seconds:.1f} s ({rate}/s)"


def _amount(tally: CopyTally) -> str:
    objects = "1 object" if tally.num_objects == 1 else f"{tally.num_objects:,} objects"
    return f"{objects}, {format_bytes(tally.num_bytes)}"

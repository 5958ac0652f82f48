"""`embsnap vocab build`."""

from __future__ import annotations

import click

from embsnap.cli.options import (
    dry_run_option,
    json_option,
    memory_budget_option,
    quiet_option,
    require_out,
    storage_option,
    threads_option,
)
from embsnap.cli.output import Write, emit, renders, table
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import percent
from embsnap.formats.events import Engine
from embsnap.ops.vocab_build import BuildOptions, BuildResult, build_vocabulary

__all__ = ["command"]


@click.command("build")
@click.argument("events", nargs=-1, required=True)
@click.option(
    "--id-column",
    "id_columns",
    multiple=True,
    required=True,
    help="Column of ids, or of lists of them; may be repeated.",
)
@click.option("--out", metavar="URI", help="The new vocabulary: a file (*.parquet), or an empty directory.")
@click.option("--min-count", type=click.IntRange(min=1), default=1, show_default=True, help="Leave out rarer ids.")
@click.option("--max-size", type=click.IntRange(min=1), help="At most so many entities, the most frequent.")
@click.option("--reserved", "num_reserved", type=click.IntRange(min=0), default=0, help="Rows at the front: pad, null.")
@click.option("--num-oov", type=click.IntRange(min=0), default=0, help="Rows after those for unknown ids.")
@click.option("--time-column", help="Column of times, whose largest is kept for each id, as last_seen.")
@click.option(
    "--temp-directory", help="Where to spill what exceeds the memory budget; a temporary directory by default."
)
@dry_run_option
@memory_budget_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    events: tuple[str, ...],
    out: str | None,
    temp_directory: str | None,
    dry_run: bool,
    memory_budget: int,
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
    id_columns: tuple[str, ...],
    min_count: int,
    max_size: int | None,
    num_reserved: int,
    num_oov: int,
    time_column: str | None,
) -> None:
    """Count the entities in event logs, and give each of them a row.

    EVENTS are parquet files, directories or globs. The ids of all the id columns are counted together.
    Rows begin with the reserved ones, then those for unknown ids; then come the entities, the most frequent first,
    those of one count by id. The same events give the same vocabulary, whatever their files and order. What does not
    fit in the memory budget spills to disk. A dry run counts, and writes nothing.

    \b
    Examples:
      embsnap vocab build /logs/2024-03-0* --id-column user --out /vocab/user
      embsnap vocab build /logs --id-column viewed --id-column bought --min-count 5 --num-oov 16 --dry-run

    \b
    Exit codes:
      0  written (or counted)
      2  usage
      3  no such events
      4  a damaged file
      5  a column does not fit, or no id is left
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    require_out(out, dry_run=dry_run)
    options = BuildOptions(
        id_columns=id_columns,
        time_column=time_column,
        min_count=min_count,
        max_size=max_size,
        num_reserved=num_reserved,
        num_oov=num_oov,
        engine=Engine(memory_bytes=memory_budget, threads=threads, spill_directory=temp_directory),
        storage_options=storage_options,
    )
    with progress_on_stderr(quiet=quiet) as progress:
        built = build_vocabulary(events, options, out=out, progress=progress)
        result = built.result if dry_run or out is None else built.write(out, storage_options)
    emit(result, as_json=as_json)


@renders(BuildResult)
def _render(result: BuildResult, write: Write) -> None:
    kept = result.num_events - result.num_rare_events - result.num_beyond_events
    rows = [
        ("distinct ids", result.num_distinct, result.num_events, percent(1.0)),
        ("kept", result.num_entities, kept, percent(result.coverage)),
        ("below the least count", result.num_rare, result.num_rare_events, _share(result, result.num_rare_events)),
        ("beyond the size", result.num_beyond, result.num_beyond_events, _share(result, result.num_beyond_events)),
        ("null", None, result.num_nulls, None),
    ]
    for line in table(rows, (f"{result.id_type} ids", "entities", "events", "share")):
        write(line)
    write("")
    special = [("reserved", result.reserved), ("for unknown ids", result.oov)]
    shown = "".join(f", [{rows[0]}, {rows[1]}) {what}" for what, rows in special if rows is not None)
    write(f"rows of the table: {result.num_rows:,}{shown}")
    write(f"fingerprint: {result.fingerprint}")
    read = f"{result.num_records:,} records in {result.num_files:,} {'file' if result.num_files == 1 else 'files'}"
    write(f"wrote {result.uri} from {read}" if result.uri is not None else f"dry run, nothing written: {read} counted")


def _share(result: BuildResult, num_events: int) -> str | None:
    return percent(num_events / result.num_events)

"""`embsnap vocab extend`."""

from __future__ import annotations

import click

from embsnap.cli.options import (
    NumberRange,
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
from embsnap.cli.vocab_options import columns_of, reserved_option, vocab_column_option
from embsnap.formats.events import Engine
from embsnap.ops.vocab_extend_files import ExtendInputs, extend_files
from embsnap.ops.vocab_extension import ExtendOptions, ExtendResult
from embsnap.ops.vocab_rows import Evict

__all__ = ["command"]


@click.command("extend")
@click.argument("old")
@click.argument("new", nargs=-1, required=True)
@click.option("--out", metavar="URI", help="The extended vocabulary: a file (*.parquet), or an empty directory.")
@click.option(
    "--id-column", "id_columns", multiple=True, help="NEW are events, with ids in this column; may be repeated."
)
@click.option("--time-column", help="Column of times of events, for last_seen.")
@click.option("--max-size", type=click.IntRange(min=1), help="At most so many entities.")
@click.option("--evict", type=click.Choice([how.value for how in Evict]), help="Who leaves first; by count by default.")
@click.option("--keep-missing/--drop-missing", default=True, help="Whether entities stay that NEW lacks (they do).")
@click.option("--decay", type=NumberRange(0, 1), help="New count = floor(old * decay) + new; 0 by default.")
@click.option("--aliases", metavar="URI", help="Parquet of old_id, new_id and perhaps weight: ids that change.")
@click.option("--left", "left_uri", metavar="URI", help="Write who left, and why, as parquet.")
@click.option(
    "--temp-directory", help="Where to spill what exceeds the memory budget; a temporary directory by default."
)
@reserved_option
@vocab_column_option
@dry_run_option
@memory_budget_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    old: str,
    new: tuple[str, ...],
    out: str | None,
    id_columns: tuple[str, ...],
    time_column: str | None,
    max_size: int | None,
    evict: str | None,
    keep_missing: bool,
    decay: float | None,
    aliases: str | None,
    left_uri: str | None,
    temp_directory: str | None,
    reserved: tuple[tuple[int, int], ...],
    vocab_columns: dict[str, str],
    dry_run: bool,
    memory_budget: int,
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Bring a vocabulary up to date: whoever stays keeps the row, newcomers get free ones.

    NEW are parquet files of ids, each perhaps with count and last_seen, or raw events with --id-column. Newcomers take
    free rows first, the most frequent the lowest, then rows at the end; reserved rows and those for unknown ids are
    never given. With --max-size the least frequent leave. An alias gives an old id's row to its new id.

    \b
    Examples:
      embsnap vocab extend /vocab/monday /logs/tuesday --id-column user --out /vocab/tuesday
      embsnap vocab extend /vocab/monday /counts/tuesday.parquet --max-size 8000000 --evict both --decay 0.9 --dry-run

    \b
    Exit codes:
      0  written (or planned)
      2  usage
      3  no such vocabulary, or no such files
      4  a damaged file
      5  not a vocabulary, or ids that do not fit
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    require_out(out, dry_run=dry_run)
    inputs = ExtendInputs(
        old=old,
        new=new,
        aliases=aliases,
        id_columns=id_columns,
        time_column=time_column,
        vocabulary_columns=columns_of(vocab_columns),
        engine=Engine(memory_bytes=memory_budget, threads=threads, spill_directory=temp_directory),
        storage_options=storage_options,
        destinations=tuple(uri for uri in (out, left_uri) if uri is not None),
    )
    options = ExtendOptions(
        max_size=max_size,
        evict=None if evict is None else Evict(evict),
        keep_missing=keep_missing,
        decay=decay,
        reserved=reserved,
        threads=threads,
    )
    with progress_on_stderr(quiet=quiet) as progress:
        extended = extend_files(inputs, options, progress=progress)
        result = (
            extended.result
            if dry_run or out is None
            else extended.write(out, left_uri=left_uri, options=storage_options)
        )
    emit(result, as_json=as_json)


@renders(ExtendResult)
def _render(result: ExtendResult, write: Write) -> None:
    appended = result.num_added - result.num_reused_rows
    rows = [
        ("old", result.num_old, ""),
        ("stayed", result.num_stayed, "with the row they had"),
        ("added", result.num_added, f"{result.num_reused_rows:,} in free rows, {appended:,} at the end"),
        ("not admitted", result.num_not_admitted, f"of {result.num_seen:,} ids seen"),
        ("evicted", result.num_evicted, ""),
        ("dropped", result.num_dropped, f"of {result.num_missing:,} not seen again"),
        ("merged", result.num_merged, "into others by aliases"),
        ("renamed", result.num_renamed, "by aliases, in the row they had"),
        ("split off", result.num_split, "by aliases"),
        ("now", result.num_entities, f"in {result.num_rows:,} rows, {result.num_free_rows:,} of them free"),
    ]
    for line in table(rows, ("entities", "number", "")):
        write(line)
    write("")
    if result.num_unused_aliases:
        write(f"aliases of ids that the old vocabulary lacks: {result.num_unused_aliases:,}")
    assumed = "" if result.was_declared else " (assumed: the old vocabulary does not say)"
    special = [*result.reserved, *([] if result.oov is None else [result.oov])]
    write(f"never given: rows {', '.join(f'[{start}, {end})' for start, end in special) or 'none'}{assumed}")
    if result.left:
        write("")
        cells = ((left.id, left.row, left.count, left.reason.value) for left in result.left)
        for line in table(cells, ("who left", "row", "count", "why")):
            write(line)
        write("")
    write(f"fingerprint: {result.fingerprint}")
    if result.left_uri is not None:
        write(f"wrote who left to {result.left_uri}")
    write("dry run, nothing written" if result.uri is None else f"wrote {result.uri}")

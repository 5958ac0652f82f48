"""`embsnap export`."""

from __future__ import annotations

from typing import Any

import click

from embsnap.cli.options import (
    by_table_option,
    dry_run_option,
    json_option,
    memory_budget_option,
    quiet_option,
    require_out,
    storage_option,
    threads_option,
)
from embsnap.cli.output import Write, emit, format_bytes, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import columns_of, vocab_column_option
from embsnap.model.exchange import ExchangeFormat, ExportResult

__all__ = ["command"]


@click.command("export")
@click.argument("uri")
@click.option("--out", metavar="URI", help="A file, for one table; otherwise a directory, which must be empty.")
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in ExchangeFormat]),
    help="What to write.  [default: told by --out, else parquet]",
)
@click.option("--table", "tables", multiple=True, metavar="NAME", help="A table; may be repeated. All, without it.")
@by_table_option("--vocab", "vocab", "Vocabulary of a table, if not the one that its sidecar records")
@click.option("--by-position", is_flag=True, help="Export all rows without ids, and no vocabulary.")
@click.option("--where", metavar="SQL", help="Only entities that meet a condition on the vocabulary's columns.")
@click.option(
    "--column",
    "further_columns",
    multiple=True,
    metavar="NAME",
    help="A column of the vocabulary to put beside id and row; may be repeated. parquet, arrow and csv.",
)
@vocab_column_option
@dry_run_option
@memory_budget_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    uri: str,
    out: str | None,
    form: str | None,
    vocab_columns: dict[str, str],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **typed: Any,
) -> None:
    """Write tables as files for serving stores and notebooks: id, row and vector of each entity.

    Rows come in their order, values exactly as they are; bfloat16 becomes float32, where a format lacks it. A condition
    is an SQL expression on the columns of the vocabulary. A directory gets one table for each file and, at last,
    export.json; `embsnap import` makes a snapshot of it again. Optimizer state is not exported.

    \b
    Examples:
      embsnap export runs/7@latest --table user --vocab user=/data/user --out user.parquet
      embsnap export runs/7@latest --format safetensors --out exported
      embsnap export runs/7@latest --table user --where 'count >= 10' --column count --out gs://serving/user.arrow
      embsnap export runs/7@latest --table user --by-position --out user.npy

    \b
    Exit codes:
      0  written (or planned)
      2  usage, a condition that is none, or no entity meets it
      3  no such snapshot, table, vocabulary or column
      4  not a committed, readable snapshot
      5  no vocabulary, one that does not fit, or ids that the format has no place for
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    from embsnap.ops.export.options import ExportOptions
    from embsnap.ops.export.plan import plan_export
    from embsnap.ops.export.writing import write_export

    require_out(out, dry_run=dry_run)
    options = ExportOptions(format=_format(form, out), columns=columns_of(vocab_columns), **typed)
    with progress_on_stderr(quiet=quiet) as progress:
        plan = plan_export(uri, out, options, progress=progress)
        result = plan.result if dry_run else write_export(plan, progress=progress)
    emit(result, as_json=as_json)


def _format(form: str | None, out: str | None) -> ExchangeFormat:
    if form is not None:
        return ExchangeFormat(form)
    return next(
        (each for each in ExchangeFormat if out is not None and out.endswith(each.suffixes)), ExchangeFormat.PARQUET
    )


@renders(ExportResult)
def _render(result: ExportResult, write: Write) -> None:
    rows = [
        (
            found.name,
            found.num_rows,
            found.num_entities,
            found.dim,
            found.dtype if found.dtype == found.stored_dtype else f"{found.dtype} as {found.stored_dtype}",
            found.vocab or "by position",
            " ".join(found.files),
        )
        for found in result.tables
    ]
    for line in table(rows, ("table", "rows", "of", "dim", "dtype", "vocabulary", "files")):
        write(line)
    write_findings(result.findings, write)
    to_read, to_write = format_bytes(result.num_bytes_to_read), format_bytes(result.num_bytes_to_write)
    if result.destination is None:
        memory = format_bytes(result.peak_memory_bytes)
        write(f"dry run, nothing written: {to_read} to read, about {to_write} to write, {memory} of memory")
        return
    if result.num_unchecked_rows:
        write(f"{result.num_unchecked_rows:,} rows read without a checksum to compare them with")
    write(f"wrote {to_write} of {result.format} to {result.destination} in {result.seconds:.1f} s")

"""`embsnap vocab convert`."""

from __future__ import annotations

import click

from embsnap.cli.options import dry_run_option, json_option, quiet_option, require_out, storage_option, threads_option
from embsnap.cli.output import Write, emit, renders, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import columns_of, vocab_column_option
from embsnap.model.vocab_conversion import VocabConversion, VocabFormat

__all__ = ["command"]

_READABLE = [each.value for each in VocabFormat]
_WRITABLE = [each.value for each in VocabFormat if each is not VocabFormat.ZCH]


@click.command("convert")
@click.argument("source", metavar="FROM")
@click.option("--out", metavar="URI", help="A file; for nvtabular a directory; for parquet either.")
@click.option("--from", "source_format", type=click.Choice(_READABLE), help="What FROM is; else told by its name.")
@click.option("--to", "target_format", type=click.Choice(_WRITABLE), help="What to write; else told by --out.")
@click.option("--column", help="NVTabular: the column to read, or the name of the one to write.")
@click.option("--table", help="zch: the table of the managed collision module.")
@click.option(
    "--id-type",
    type=click.Choice(["int64", "uint64", "string"]),
    help="text, csv, tsv: what the ids are. [default: string for text; told by how they are written for csv and tsv]",
)
@vocab_column_option
@dry_run_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    source: str,
    out: str | None,
    source_format: str | None,
    target_format: str | None,
    column: str | None,
    table: str | None,
    id_type: str | None,
    vocab_columns: dict[str, str],
    dry_run: bool,
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Turn a vocabulary of another make into parquet, or parquet into one of another make.

    FROM is parquet; NVTabular's unique.COLUMN.parquet, with its meta file; a text vocabulary as TensorFlow reads it,
    where the number of a line is the row (*.txt); csv or tsv with a header id,row,count; or a snapshot with the managed
    collision (ZCH) buffers of torchrec. All but the last can be written. What a format has no place for is noted; what
    it cannot hold, or what is in doubt, is refused.

    \b
    Examples:
      embsnap vocab convert categories/unique.user.parquet --out user.parquet
      embsnap vocab convert user.parquet --to nvtabular --column user --out categories
      embsnap vocab convert vocab.txt --id-type int64 --out user.parquet
      embsnap vocab convert runs/7@latest --from zch --table user --out user.parquet

    \b
    Exit codes:
      0  written (or read)
      2  usage
      3  nothing is there, or several columns or tables are
      4  a damaged file or snapshot
      5  not a vocabulary, duplicates, or not one that the other format can hold
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    from embsnap.model.vocabulary import IdType
    from embsnap.ops.vocab_convert import plan_conversion, write_conversion
    from embsnap.ops.vocab_formats import ConvertOptions

    require_out(out, dry_run=dry_run)
    options = ConvertOptions(
        source=None if source_format is None else VocabFormat(source_format),
        target=None if target_format is None else VocabFormat(target_format),
        column=column,
        table=table,
        id_type=None if id_type is None else IdType(id_type),
        columns=columns_of(vocab_columns),
        threads=threads,
        storage_options=storage_options,
    )
    with progress_on_stderr(quiet=quiet) as progress:
        plan = plan_conversion(source, out, options, progress=progress)
        result = plan.result if dry_run or out is None else write_conversion(plan, out)
    emit(result, as_json=as_json)


@renders(VocabConversion)
def _render(result: VocabConversion, write: Write) -> None:
    write(f"{result.source_format} {result.source}")
    counts = "with counts" if result.has_counts else "without counts"
    write(f"entities: {result.num_entities:,}, {result.id_type} ids, {counts}")
    special = [("reserved", rows) for rows in result.reserved]
    special += [("for unknown ids", result.oov)] if result.oov is not None else []
    shown = "".join(f", [{start}, {end}) {what}" for what, (start, end) in special)
    write(f"rows: {result.first_row:,} to {result.last_row:,}{shown}")
    write(f"fingerprint: {result.fingerprint}")
    write_findings(result.findings, write)
    if result.destinations:
        write(f"wrote {result.target_format} {' and '.join(result.destinations)}")
    else:
        write(f"dry run, nothing written: it would be {result.target_format}")

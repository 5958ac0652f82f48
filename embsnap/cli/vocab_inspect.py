"""`embsnap vocab inspect`."""

from __future__ import annotations

import click

from embsnap.cli.options import json_option, quiet_option, storage_option, threads_option
from embsnap.cli.output import Write, emit, format_bytes, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import columns_of, percent, vocab_column_option
from embsnap.model.vocab_inspection import CountDistribution, Entity, VocabInspection

__all__ = ["command", "entity_lines"]


@click.command("inspect")
@click.argument("uri")
@click.option("--show", type=click.IntRange(min=0), default=5, show_default=True, help="Entities in each list.")
@vocab_column_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    uri: str,
    show: int,
    vocab_columns: dict[str, str],
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
) -> int:
    """Show what is in the vocabulary at URI: its size, types, rows, counts and a sample.

    URI is a parquet file, a directory of them, or a glob. The fingerprint is computed from what is read. Density is the
    share of the rows up to the last one that have an entity; which of the others are free or reserved is shown where
    the files' metadata say it.

    \b
    Examples:
      embsnap vocab inspect /data/user
      embsnap vocab inspect /data/user.parquet --vocab-column id=user_id --show 20 --json

    \b
    Exit codes:
      0  the vocabulary could be read, whatever was found in it
      2  usage
      3  nothing there
      4  a damaged file
      5  not a vocabulary: columns, types, nulls
      6  the storage failed
    """
    from embsnap.ops.vocab_inspect import VocabInspectOptions, inspect_vocabulary

    options = VocabInspectOptions(
        columns=columns_of(vocab_columns), num_shown=show, threads=threads, storage_options=storage_options
    )
    with progress_on_stderr(quiet=quiet) as progress:
        result = inspect_vocabulary(uri, options, progress=progress)
    emit(result, as_json=as_json)
    return 0


def entity_lines(entities: tuple[Entity, ...]) -> list[str]:
    """A table of entities, with their counts where there are any."""
    if any(entity.count is not None for entity in entities):
        return table(((str(found.id), found.row, found.count) for found in entities), ("id", "row", "count"))
    return table(((str(found.id), found.row) for found in entities), ("id", "row"))


@renders(VocabInspection)
def _render(found: VocabInspection, write: Write) -> None:
    write(f"vocabulary: {found.uri}")
    rows = f"rows {found.first_row:,} to {found.last_row:,}, density {percent(found.density)}"
    write(f"{found.num_entities:,} {'entity' if found.num_entities == 1 else 'entities'}, {found.id_type} ids, {rows}")
    write(f"fingerprint: {found.fingerprint}")
    for line in _declared(found):
        write(line)
    parts = [_files(found), _columns(found)]
    parts += [["the first entities", *entity_lines(found.sample)]] if found.sample else []
    parts += [] if found.counts is None else [_counts(found.counts)]
    for lines in parts:
        write("")
        for line in lines:
            write(line)
    if found.findings:
        write("")
        write_findings(found.findings, write)


def _declared(found: VocabInspection) -> list[str]:
    oov = () if found.oov is None else (found.oov,)
    named = {"reserved": found.reserved, "OOV": oov, "free": found.free}
    lines = [f"{name} rows: {', '.join(map(_range, ranges))}" for name, ranges in named.items() if ranges]
    lines += [] if found.num_rows is None else [f"made for a table of {found.num_rows:,} rows"]
    return lines + ([] if found.made_by is None else [f"written by {found.made_by}"])


def _files(found: VocabInspection) -> list[str]:
    rows = [(file.num_entities, file.num_row_groups, format_bytes(file.num_bytes), file.uri) for file in found.files]
    return table(rows, ("entities", "row groups", "bytes", "file"))


def _columns(found: VocabInspection) -> list[str]:
    rows = [
        (
            *(column.name, column.role, column.type, format_bytes(column.num_bytes)),
            *(", ".join(column.encodings), ", ".join(column.compressions)),
        )
        for column in found.columns
    ]
    return table(rows, ("column", "read as", "type", "bytes", "encodings", "compression"))


def _counts(counts: CountDistribution) -> list[str]:
    quantiles = ", ".join(f"{name} {value:,}" for name, value in counts.quantiles.items())
    lines = [f"counts: {counts.total:,} in all, mean {counts.mean:,.6g}, {quantiles}"]
    if counts.top_decile_share is not None:
        lines.append(f"the tenth with the largest counts has {percent(counts.top_decile_share)} of them")
    return [*lines, "the largest counts", *entity_lines(counts.top)] if counts.top else lines


def _range(rows: tuple[int, int]) -> str:
    return f"[{rows[0]:,}, {rows[1]:,})"

"""`embsnap vocab lookup`."""

from __future__ import annotations

import click

from embsnap.cli.lines import read_lines
from embsnap.cli.options import json_option, storage_option, threads_option
from embsnap.cli.output import Write, emit, renders
from embsnap.cli.vocab_inspect import entity_lines
from embsnap.cli.vocab_options import columns_of, vocab_column_option
from embsnap.model.vocab_inspection import VocabLookup

__all__ = ["command"]


@click.command("lookup")
@click.argument("uri")
@click.option("--id", "ids", multiple=True, metavar="ID", help="An entity id; may be repeated.")
@click.option("--row", "rows", type=click.IntRange(min=0), multiple=True, help="A row; may be repeated.")
@click.option(
    "--ids-from",
    metavar="FILE",
    help="A text file with one entity id in each line; - reads them from stdin.",
)
@vocab_column_option
@threads_option
@storage_option
@json_option
def command(
    uri: str,
    ids: tuple[str, ...],
    rows: tuple[int, ...],
    ids_from: str | None,
    vocab_columns: dict[str, str],
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
) -> int:
    """Find the rows of entity ids, and the entity ids of rows.

    Ids are written as the vocabulary's type wants them: numbers in digits, strings as they are, binary ids as 0x and
    hexadecimal digits. Row groups whose statistics rule the ids or rows out are not read. What is not there is listed.

    \b
    Examples:
      embsnap vocab lookup /data/user --id 7730944518 --id 1185260094
      embsnap vocab lookup /data/user --row 0 --row 17 --json
      embsnap vocab lookup /data/user --ids-from ids.txt

    \b
    Exit codes:
      0  all were found
      1  some were not found
      2  usage
      3  nothing was found, or there is no vocabulary
      4  a damaged file
      5  not a vocabulary, or an id that is not of its type
      6  the storage failed
    """
    from embsnap.ops.vocab_lookup import VocabLookupOptions, look_up

    options = VocabLookupOptions(
        ids=(*ids, *(() if ids_from is None else read_lines(ids_from))),
        rows=rows,
        columns=columns_of(vocab_columns),
        threads=threads,
        storage_options=storage_options,
    )
    found = look_up(uri, options)
    emit(found, as_json=as_json)
    if not found.entities:
        return 3
    return 1 if found.missing_ids or found.missing_rows else 0


@renders(VocabLookup)
def _render(found: VocabLookup, write: Write) -> None:
    for line in entity_lines(found.entities) if found.entities else ():
        write(line)
    for missing in found.missing_ids:
        write(f"not found: id {missing}")
    for row in found.missing_rows:
        write(f"not found: row {row:,}")
    write(f"read {found.num_row_groups_read:,} of {found.num_row_groups:,} row groups")

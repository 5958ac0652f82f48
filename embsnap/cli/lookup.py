"""`embsnap lookup`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from embsnap.cli.lines import read_lines
from embsnap.cli.options import check_option, json_option, quiet_option, storage_option, threads_option
from embsnap.cli.output import Write, emit, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import columns_of, vocab_column_option
from embsnap.model.row_lookup import FoundEntity, FoundRow, LookedUpTable, RowLookup, RowStep

__all__ = ["command"]


@click.command("lookup")
@click.argument("uri")
@click.option("--table", metavar="NAME", help="The table; not needed where the snapshot has one.")
@click.option("--vocab", metavar="URI", help="Its vocabulary, if not the one that the sidecar records.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="An entity id; may be repeated.")
@click.option("--row", "rows", type=click.IntRange(min=0), multiple=True, help="A row; may be repeated.")
@click.option(
    "--ids-from",
    metavar="FILE",
    help="A text file with one entity id in each line; - reads them from stdin.",
)
@click.option(
    "--neighbors",
    type=click.IntRange(min=0, max=10_000),
    default=0,
    show_default=True,
    help="Nearest rows by cosine, over the whole table.",
)
@click.option("--against", metavar="URI2", help="A second snapshot, whose rows of the same entities are put beside.")
@click.option("--table-against", metavar="NAME", help="The table there, if it has another name.")
@click.option("--vocab-against", metavar="URI", help="The vocabulary there, if not the one that its sidecar records.")
@vocab_column_option
@check_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    uri: str,
    ids: tuple[str, ...],
    ids_from: str | None,
    vocab_columns: dict[str, str],
    as_json: bool,
    quiet: bool,
    **typed: Any,
) -> int:
    """Show entities' rows: values, norm, optimizer state, nearest neighbours, in one snapshot or two.

    Only the bytes of these rows are read, and the row groups of the vocabulary that may hold their ids; with
    --neighbors the table is read once, whole. Ids are written as the vocabulary's type wants them: numbers in digits,
    strings as they are, binary ids as 0x and hexadecimal digits. What is not there is listed.

    \b
    Examples:
      embsnap lookup runs/day2@latest --vocab /data/user --id 7730944518
      embsnap lookup runs/day2@latest --table user --id 7730944518 --neighbors 10 --json
      embsnap lookup runs/day1@latest --id 7730944518 --against runs/day2@latest

    \b
    Exit codes:
      0  all were found
      1  some were not found, in one snapshot or in the other
      2  usage
      3  nothing was found, or there is no such snapshot, table or vocabulary
      4  not a committed, readable snapshot
      5  no vocabulary, or one that does not fit
      6  the storage failed
    """
    from embsnap.ops.lookup.options import RowLookupOptions
    from embsnap.ops.lookup.rows import look_up_rows

    all_ids = (*ids, *(() if ids_from is None else read_lines(ids_from)))
    options = RowLookupOptions(ids=all_ids, columns=columns_of(vocab_columns), **typed)
    with progress_on_stderr(quiet=quiet) as progress:
        found = look_up_rows(uri, options, progress=progress)
    emit(found, as_json=as_json)
    if not found.entities:
        return 3
    complete = all(entity.found and (entity.against or found.against is None) for entity in found.entities)
    return 0 if complete and not found.missing else 1


@renders(RowLookup)
def _render(found: RowLookup, write: Write) -> None:
    write(_headline(found.table))
    if found.against is not None:
        write(f"against {_headline(found.against)}")
    for entity in found.entities:
        write("")
        write("a row without a known entity" if entity.id is None else f"id {entity.id}")
        for line in _entity(entity, found.against is not None):
            write(f"  {line}")
    if found.missing:
        write("")
    for missing in found.missing:
        write(f"not found: id {missing}")
    write_findings(found.findings, write)


def _headline(place: LookedUpTable) -> str:
    vocabulary = "" if place.vocab is None else f", vocabulary {place.vocab}"
    shape = f"{place.num_embeddings:,} rows of {place.embedding_dim} {place.dtype}"
    return f"table {place.table} of {place.uri}: {shape}{vocabulary}"


def _entity(entity: FoundEntity, has_against: bool) -> Iterator[str]:
    yield from _row("", entity.found)
    if has_against:
        yield from _row("against: ", entity.against)
    if entity.step is not None:
        yield _step(entity.step)


def _row(prefix: str, found: FoundRow | None) -> Iterator[str]:
    if found is None:
        yield f"{prefix}not there"
        return
    count = "" if found.count is None else f", count {found.count:,}"
    yield f"{prefix}row {found.row:,}{count}, norm {found.norm:.6g}"
    yield f"  values {_numbers(found.values)}"
    for state in found.state:
        yield f"  {state.name} {_numbers(state.values)}"
    if found.neighbors is not None:
        rows = [("-" if near.id is None else str(near.id), near.row, near.cosine) for near in found.neighbors]
        for line in table(rows, ("nearest", "row", "cosine")) if rows else ["no neighbours"]:
            yield f"  {line}"


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _step(step: RowStep) -> str:
    figures = {"distance": step.distance, "cosine": step.cosine, "relative L2": step.relative_l2}
    parts = [f"{name} {'-' if value is None else format(value, '.6g')}" for name, value in figures.items()]
    parts += [] if step.neighbors_kept is None else [f"neighbours kept {step.neighbors_kept}"]
    return ", ".join(parts)

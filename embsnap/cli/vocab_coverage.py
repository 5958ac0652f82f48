"""`embsnap vocab coverage`."""

from __future__ import annotations

from typing import Any

import click

from embsnap.cli.options import (
    NumberRange,
    json_option,
    memory_budget_option,
    quiet_option,
    storage_option,
    threads_option,
)
from embsnap.cli.output import Write, emit, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import columns_of, percent, vocab_column_option
from embsnap.model.vocab_coverage import Covered, VocabCoverage

__all__ = ["command"]

_MAX_INDEX = 2**31 - 1
_HEADERS = ("", "events", "hits", "coverage", "OOV rate", "ids", "known ids", "nulls")
_DECILE_HEADERS = ("decile", "entities", "largest count", "least count", "seen", "hits", "share of events")


class _Stratum(click.ParamType[tuple[str, int, int]]):
    name = "name:index:value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int, int]:
        if isinstance(value, tuple):
            return value
        name, *numbers = str(value).rsplit(":", 2)
        try:
            index, wanted = map(int, numbers)
        except ValueError:
            self.fail(f"{value!r} is not of the form name:index:value, such as mobile:0:3", param, ctx)
        if not name or not 0 <= index < _MAX_INDEX:
            self.fail(f"{value!r} has no name, or an index that no list has", param, ctx)
        return name, index, wanted


@click.command("coverage")
@click.argument("uri", metavar="VOCAB")
@click.argument("events", nargs=-1, required=True)
@click.option("--id-column", "id_columns", multiple=True, required=True, help="Ids in EVENTS; may be repeated.")
@click.option("--stratum", "strata", type=_Stratum(), multiple=True, help="A part of EVENTS; may be repeated.")
@click.option(
    "--discrete-column", default="discrete_features", show_default=True, help="Lists of integers, for --stratum."
)
@click.option("--min-coverage", type=NumberRange(0, 1), help="Least share of events with a known id.")
@click.option("--show", type=click.IntRange(min=0), default=10, show_default=True, help="Missing ids to list.")
@vocab_column_option
@memory_budget_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(uri: str, events: tuple[str, ...], **typed: Any) -> int:
    """Measure how much of what happens in EVENTS a vocabulary knows.

    EVENTS are parquet files, directories or globs. Each id in the columns is one event, in lists too; nulls are
    counted apart. A stratum `name:index:value` is the events whose list in the discrete column has `value` at `index`,
    counted from 0. Where the vocabulary has counts, its entities are cut into ten parts of equal size by them.

    \b
    Examples:
      embsnap vocab coverage /data/user /logs/today --id-column user_id
      embsnap vocab coverage /data/post /logs/today --id-column liked --id-column seen --stratum mobile:0:1
      embsnap vocab coverage /data/user /logs/today --id-column user_id --min-coverage 0.95 --json

    \b
    Exit codes:
      0  covered
      1  below --min-coverage, or there are no events
      2  usage
      3  no vocabulary, or no events file
      4  a damaged file
      5  columns are missing, or ids of different types
      6  storage, permission, disk full
    """
    result = _cover(uri, events, **typed)
    emit(result, as_json=typed["as_json"])
    return 0 if result.ok else 1


def _cover(uri: str, events: tuple[str, ...], *, quiet: bool, **typed: Any) -> VocabCoverage:
    from embsnap.config.embedding import StratifierConfig
    from embsnap.formats.events import Engine
    from embsnap.ops.vocab_coverage import VocabCoverageOptions, cover_events

    options = VocabCoverageOptions(
        id_columns=typed["id_columns"],
        strata=[StratifierConfig(name=name, index=index, value=value) for name, index, value in typed["strata"]],
        discrete_column=typed["discrete_column"],
        min_coverage=typed["min_coverage"],
        num_missing=typed["show"],
        columns=columns_of(typed["vocab_columns"]),
        engine=Engine(memory_bytes=typed["memory_budget"], threads=typed["threads"]),
        storage_options=typed["storage_options"],
    )
    with progress_on_stderr(quiet=quiet) as progress:
        return cover_events(uri, events, options, progress=progress)


@renders(VocabCoverage)
def _render(found: VocabCoverage, write: Write) -> None:
    write(f"vocabulary: {found.uri}: {found.num_entities:,} entities, {found.id_type} ids")
    write(f"events: {', '.join(found.events)}")
    write("")
    parts = [] if len(found.columns) == 1 else [("column", covered) for covered in found.columns]
    parts += [("stratum", covered) for covered in found.strata]
    for line in table([_cells("all", found.total), *(_cells(*part) for part in parts)], _HEADERS):
        write(line)
    if found.deciles:
        write("")
        rows = [
            (
                *(part.number, part.num_entities, part.max_count, part.min_count),
                *(part.num_seen, part.num_hits, percent(part.share)),
            )
            for part in found.deciles
        ]
        for line in table(rows, _DECILE_HEADERS):
            write(line)
    if found.missing:
        write("")
        for line in table(((str(m.id), m.num_events) for m in found.missing), ("missing id", "events")):
            write(line)
    write_findings(found.findings, write)
    write("")
    write(_answer(found))


def _cells(kind: str, covered: Covered) -> tuple[object, ...]:
    shares = (percent(covered.coverage), percent(covered.oov_rate))
    ids = (covered.num_ids, covered.num_known_ids, covered.num_nulls)
    return (f"{kind} {covered.name}", covered.num_events, covered.num_hits, *shares, *ids)


def _answer(found: VocabCoverage) -> str:
    if found.total.coverage is None:
        return "there are no events"
    if found.min_coverage is None:
        return f"coverage {percent(found.total.coverage)}"
    verdict = "is enough" if found.ok else "is too little"
    return f"coverage {percent(found.total.coverage)} {verdict}: at least {percent(found.min_coverage)} was asked for"

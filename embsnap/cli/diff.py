"""`embsnap diff`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from embsnap.cli.options import by_table_option, check_option, json_option, quiet_option, storage_option, threads_option
from embsnap.cli.output import Write, emit, renders, table, write_findings, write_unchecked
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_inspect import entity_lines
from embsnap.cli.vocab_options import columns_of, percent, vocab_column_option
from embsnap.model.distribution import Distribution
from embsnap.model.snapshot_diff import Change, Drift, Gate, MatchedBy, MovedRow, SnapshotDiff, TableDiff

__all__ = ["command"]

_FIGURES = ("p1", "p5", "p25", "p50", "p75", "p95", "p99")
_MAX_CHANGES = 50


@click.command("diff")
@click.argument("uri_a", metavar="A")
@click.argument("uri_b", metavar="B")
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAME[=NAME]",
    help="Compare this table alone, with the one of the second name in B; may be repeated.",
)
@by_table_option("--vocab-a", "vocab_a", "Vocabulary of a table of A, if not the one its sidecar records")
@by_table_option("--vocab-b", "vocab_b", "Vocabulary of a table of B, if not the one its sidecar records")
@click.option("--by-position", is_flag=True, help="Match rows by their index, whatever vocabularies there are.")
@click.option("--bit-exact", is_flag=True, help="Compare the bits of weights, optimizer state and all other entries.")
@click.option(
    "--procrustes", is_flag=True, help="Measure the drift also after the rotation that brings A closest to B."
)
@click.option(
    "--neighbors",
    type=click.IntRange(min=0, max=1000),
    default=10,
    show_default=True,
    help="Nearest neighbours of each sampled entity; 0 compares none.",
)
@click.option(
    "--sample",
    "num_sampled",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Entities whose neighbours are looked for.",
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    default=("cosine<0.9", "relative_l2>0.5"),
    show_default=True,
    help="Count the rows beyond it, by cosine, relative_l2 or distance; may be repeated.",
)
@click.option("--fail-if", multiple=True, metavar="CONDITION", help="Exit 1 if a table meets it; may be repeated.")
@click.option("--show", type=click.IntRange(min=0), default=10, show_default=True, help="Entities in each list.")
@click.option(
    "--order",
    type=click.Choice(["distance", "relative-l2", "cosine"]),
    default="distance",
    show_default=True,
    help="What the top movers are chosen by.",
)
@vocab_column_option
@check_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    uri_a: str,
    uri_b: str,
    vocab_columns: dict[str, str],
    show: int,
    order: str,
    as_json: bool,
    quiet: bool,
    **typed: Any,
) -> int:
    """Compare two snapshots: structure, and how far each entity's row went.

    The rows of A and B are matched by entity id, through the vocabularies that are given, else those that the
    snapshots' sidecars record, else by position, which is said. Of the entities on both sides it tells how many rows
    moved to another index, how their vectors changed, which changed most, and how many of their nearest neighbours
    they keep.

    A CONDITION is a measure, a comparison and a number, in quotes, and may begin with the name of one table and a
    colon: cosine.p5<0.8, user:gone_share>0.1, relative_l2.mean>=0.5, overlap<0.6, procrustes.cosine.p50<0.9,
    differing>0. A table that does not have the measure fails too.

    \b
    Examples:
      embsnap diff runs/monday@latest runs/tuesday@latest
      embsnap diff A B --vocab-a user=day1/user --vocab-b user=day2/user --neighbors 0
      embsnap diff A B --fail-if 'cosine.p5<0.8' --fail-if 'user:gone_share>0.1' --json
      embsnap diff A B --bit-exact --table user=member

    \b
    Exit codes:
      0  the same; with --fail-if: no table meets a condition
      1  they differ; with --fail-if: a table meets a condition
      2  usage
      3  no such snapshot, table or vocabulary
      4  not a committed, readable snapshot
      5  vocabularies do not fit, or only one side has one
      6  the storage failed
    """
    from embsnap.ops.diff.options import DiffOptions, MoverOrder
    from embsnap.ops.diff.snapshots import diff_snapshots

    options = DiffOptions(columns=columns_of(vocab_columns), num_shown=show, order=MoverOrder(order), **typed)
    with progress_on_stderr(quiet=quiet) as progress:
        result = diff_snapshots(uri_a, uri_b, options, progress=progress)
    emit(result, as_json=as_json)
    if result.gates:
        return 1 if any(gate.met for gate in result.gates) else 0
    return 0 if result.same else 1


@renders(SnapshotDiff)
def _render(diff: SnapshotDiff, write: Write) -> None:
    for name, side in (("A", diff.a), ("B", diff.b)):
        write(f"{name}: {side.uri}, tables: {side.num_tables}, ranks: {side.world_size}")
    for name, only in (("A", diff.only_a), ("B", diff.only_b)):
        if only:
            write(f"tables only in {name}: {', '.join(only)}")
    for line in _changes(diff.changes):
        write(line)
    for found in diff.tables:
        write("")
        _render_table(found, write)
    write("")
    write_findings(diff.findings, write)
    for gate in diff.gates:
        write(_gate(gate))
    write_unchecked(sum(side.num_unchecked_rows or 0 for side in (diff.a, diff.b)), write)
    write(f"the snapshots {'are the same' if diff.same else 'differ'}")


def _render_table(found: TableDiff, write: Write) -> None:
    by = "by entity" if found.matching.by is MatchedBy.ENTITY else "by position, row by row"
    write(f"table {found.name}: {found.a.num_embeddings:,} and {found.b.num_embeddings:,} rows, matched {by}")
    matching = found.matching
    counts = (matching.num_shared, matching.num_moved, matching.num_born, matching.num_gone)
    for line in table([counts], ("shared", "moved", "born", "gone")):
        write(f"  {line}")
    for lines in (_changes(found.changes), _lists(found), _drift(found.drift, ""), _aligned(found), _rest(found)):
        for line in lines:
            write(f"  {line}")
    if found.not_compared is not None:
        write(f"  rows not compared: {found.not_compared}")
    write_findings(found.findings, write)


def _changes(changes: tuple[Change, ...]) -> list[str]:
    rows = [(change.place, change.what, change.a, change.b) for change in changes[:_MAX_CHANGES]]
    more = len(changes) - _MAX_CHANGES
    lines = table(rows, ("changed", "", "A", "B")) if rows else []
    return lines + ([f"and {more:,} more, which --json lists"] if more > 0 else [])


def _lists(found: TableDiff) -> Iterator[str]:
    for name, entities in (("born", found.matching.born), ("gone", found.matching.gone)):
        if entities:
            yield f"{name}, for example"
            yield from entity_lines(entities)


def _drift(drift: Drift | None, suffix: str) -> Iterator[str]:
    if drift is None:
        return
    spreads: Mapping[str, Distribution | None] = {
        "cosine": drift.cosine,
        "relative L2": drift.relative_l2,
        "distance": drift.distance,
    }
    rows = [
        (f"{name}{suffix}", *(None if found is None else value for value in _values(found)))
        for name, found in spreads.items()
    ]
    yield from table(rows, ("", "rows", "mean", "min", *_FIGURES, "max"))
    counts = {"identical": drift.num_identical, "not finite": drift.num_non_finite, "zero": drift.num_zero}
    yield ", ".join(f"{name}{suffix}: {num:,}" for name, num in counts.items())
    for beyond in drift.beyond:
        yield f"{beyond.threshold}{suffix}: {beyond.num:,} rows, {percent(beyond.share) or '-'}"


def _values(found: Distribution | None) -> tuple[float | None, ...]:
    if found is None:
        return (0, *([None] * (len(_FIGURES) + 3)))
    return (found.num, found.mean, found.min, *(found.percentiles[name] for name in _FIGURES), found.max)


def _aligned(found: TableDiff) -> Iterator[str]:
    procrustes = found.procrustes
    if procrustes is None:
        return
    before, after = (
        "-" if value is None else f"{value:.4g}" for value in (procrustes.residual_before, procrustes.residual)
    )
    yield f"Procrustes over {procrustes.num_rows:,} rows: residual {before} before, {after} after the rotation"
    yield from _drift(procrustes.drift, " aligned")


def _rest(found: TableDiff) -> Iterator[str]:
    if found.movers:
        yield "top movers"
        yield from _movers(found.movers)
    overlap = found.neighbors
    if overlap is not None:
        width = "" if overlap.half_width is None else f" ± {100 * overlap.half_width:.2f}"
        mean = "-" if overlap.mean is None else f"{100 * overlap.mean:.2f}{width} %"
        sampled = f"{overlap.num_sampled:,} entities among {overlap.num_candidates:,}"
        yield f"neighbours kept: {mean} of {overlap.k} nearest, {sampled}"
    for bits in found.bits or ():
        examples = f", e.g. {', '.join(bits.examples)}" if bits.examples else ""
        yield f"bits of {bits.what}: {bits.num_differing:,} of {bits.num_rows:,} rows differ{examples}"


def _movers(movers: tuple[MovedRow, ...]) -> list[str]:
    has_counts = any(mover.count is not None for mover in movers)
    headers = ("id", "row in A", "row in B", *(("count",) if has_counts else ()), "distance", "relative L2", "cosine")
    rows = [
        (
            *("-" if mover.id is None else str(mover.id), mover.row_a, mover.row_b),
            *((mover.count,) if has_counts else ()),
            *(mover.distance, mover.relative_l2, mover.cosine, mover.norm_a, mover.norm_b),
        )
        for mover in movers
    ]
    return table(rows, (*headers, "norm in A", "norm in B"))


def _gate(gate: Gate) -> str:
    value = "has no such value" if gate.value is None else f"is {gate.value:.6g}"
    table_name = "no such table" if gate.table is None else f"table {gate.table}"
    return f"{'FAILED' if gate.met else 'passed'}: {gate.condition}: {table_name} {value}"

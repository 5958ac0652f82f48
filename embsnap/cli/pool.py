"""`embsnap pool`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from embsnap.cli.noise import hush_torch
from embsnap.cli.options import (
    at_option,
    by_table_option,
    dry_run_option,
    json_option,
    memory_budget_option,
    quiet_option,
    storage_option,
    threads_option,
)
from embsnap.cli.output import Write, emit, format_bytes, renders, table
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import percent
from embsnap.model.pooling import PoolReport

__all__ = ["command"]


class _Stratum(click.ParamType[tuple[str, int, int]]):
    name = "stratum"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int, int]:
        name, _, place = str(value).rpartition("=")
        index, _, wanted = place.partition(":")
        if not name or not index.isdecimal() or not wanted.removeprefix("-").isdecimal():
            self.fail(f"{value!r} is not of the form NAME=INDEX:VALUE", param, ctx)
        return name, int(index), int(wanted)


@click.command("pool")
@click.argument("source", metavar="CONFIG|URI")
@click.argument("examples")
@click.option("--out", metavar="URI", help="Parquet file, or directory, for the pooled vectors.  [default: none]")
@click.option("--table", "tables", multiple=True, metavar="NAME", help="A table to pool; may be repeated.")
@by_table_option("--feature", "features", "Column of a table's entity ids, where it is not the table's name", "COLUMN")
@by_table_option("--weights", "weights", "Column of per-id weights of a table", "COLUMN")
@by_table_option("--vocab", "vocabularies", "Vocabulary of a table, in place of the one that is named")
@click.option("--keep", "kept", multiple=True, metavar="COLUMN", help="A column to write beside the vectors.")
@click.option(
    "--stratum",
    "strata",
    type=_Stratum(),
    multiple=True,
    metavar="NAME=INDEX:VALUE",
    help="Also means of these examples; may be repeated.",
)
@click.option(
    "--discrete-column",
    default="discrete_features",
    show_default=True,
    metavar="COLUMN",
    help="Of the discrete features, for --stratum.",
)
@click.option(
    "--oov",
    "unknown",
    type=click.Choice(["skip", "row"]),
    default="skip",
    show_default=True,
    help="Leave unknown ids out, or give them the vocabulary's rows for unknown ids.",
)
@click.option(
    "--pooling", type=click.Choice(["sum", "mean"]), default="sum", show_default=True, help="Of a snapshot's tables."
)
@click.option(
    "--compare", metavar="CONFIG|URI", help="A second source, whose vectors of the same examples are compared."
)
@by_table_option("--compare-vocab", "compared_vocabularies", "Vocabulary of a table of --compare")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto takes CUDA where it is.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8192, show_default=True, help="Examples at a time.")
@click.option("--limit", type=click.IntRange(min=1), help="Pool no more than so many examples.")
@at_option
@memory_budget_option
@threads_option
@storage_option
@dry_run_option
@json_option
@quiet_option
def command(
    source: str, examples: str, out: str | None, as_json: bool, quiet: bool, dry_run: bool, **typed: Any
) -> None:
    """Pool real examples through vocabularies and tables: vectors, throughput, unknown ids, access skew.

    CONFIG|URI is a config file (.yaml, .yml, .json), whose model is built and warm-started, or a snapshot, whose rows
    stay where they are. EXAMPLES are parquet files (a file, a directory or a glob) with a column for each table: lists
    of entity ids, or one id each. A null is an empty bag.

    \b
    Examples:
      embsnap pool /data/run7@latest /data/events/today --vocab user=/data/vocab/user --out pooled.parquet
      embsnap pool job.yaml /data/events --device cuda --weights item=item_weights --stratum new=3:1
      embsnap pool /data/run8/warm /data/events --compare /data/run7@latest --json

    \b
    Exit codes:
      0  pooled (or planned)
      2  usage, or a wrong config
      3  no such config, snapshot, table, column or vocabulary
      4  not a committed, readable snapshot
      5  no vocabulary, or shapes, types or ids do not fit
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    from embsnap.config.embedding import Pooling, StratifierConfig
    from embsnap.live.pool import pool
    from embsnap.live.pool_model import ModelOptions
    from embsnap.live.pool_plan import PoolOptions, plan_pool

    hush_torch()
    model = ModelOptions(
        pooling=Pooling(typed.pop("pooling")),
        **{name: typed.pop(name) for name in ("at", "vocabularies", "threads", "memory_budget", "storage_options")},
    )
    strata = tuple(StratifierConfig(name=name, index=index, value=value) for name, index, value in typed.pop("strata"))
    plan = plan_pool(source, examples, out, PoolOptions(model=model, strata=strata, **typed))
    if dry_run:
        emit(plan.report(), as_json=as_json)
        return
    with progress_on_stderr(quiet=quiet) as progress:
        report = pool(plan, progress=progress)
    emit(report, as_json=as_json)


@renders(PoolReport)
def _render(report: PoolReport, write: Write) -> None:
    verb = "pooled" if report.applied else "would pool"
    write(f"{verb} {report.num_examples:,} examples of {report.num_files:,} files on {report.device}")
    write(f"tables: {format_bytes(report.table_bytes)} of rows from {report.source}")
    for line in _lines(report):
        write(line)
    if report.destination is not None:
        write(f"{'vectors are in' if report.applied else 'vectors would be in'} {report.destination}")


def _lines(report: PoolReport) -> Iterator[str]:
    if not report.applied:
        return
    yield (
        f"{_rate(report.bags_per_s)} bags/s, {_rate(report.ids_per_s)} ids/s, "
        f"{format_bytes(int(report.row_bytes_per_s or 0))}/s of rows; "
        f"lookups {report.lookup_seconds:.3g} s of {report.seconds:.3g} s"
    )
    yield ""
    yield from _bags(report)
    yield ""
    yield from _access(report)
    changes = [(found.name, found.change) for found in report.tables if found.change is not None]
    if changes:
        yield ""
        yield f"against {report.compared_with}:"
        counts = ("bags", "carried", "identical", "not finite")
        headers = ("table", *counts, "cosine p50", "p5", "relative L2 p50", "p95", "max")
        rows = [
            (
                *(name, found.num_bags, found.num_carried, found.num_identical, found.num_non_finite),
                *(found.median_cosine, found.p5_cosine),
                *(found.median_relative_l2, found.p95_relative_l2, found.max_relative_l2),
            )
            for name, found in changes
        ]
        yield from table(rows, headers)
    if report.strata:
        yield ""
        columns = ("stratum", "table", "examples", "mean norm", "norm of the mean")
        strata = [
            (found.stratum, found.table, found.num_examples, found.mean_norm, _norm(found.mean))
            for found in report.strata
        ]
        yield from table(strata, columns)


def _bags(report: PoolReport) -> list[str]:
    headers = ("table", "column", "bags", "ids", "unknown", "empty bags", "pooling factor", "longest", "mean norm")
    rows = [
        (
            *(found.name, found.column, found.num_bags, found.num_ids, _share(found.num_unknown, found.oov_rate)),
            *(found.num_empty_bags, found.pooling_factor, found.max_bag, found.mean_norm),
        )
        for found in report.tables
    ]
    return table(rows, headers)


def _access(report: PoolReport) -> list[str]:
    headers = ("accesses of", "rows", "touched", "to the top 1 %", "to the top 10 %", "most of one row")
    rows = [
        (
            *(found.name, found.num_embeddings, found.access.num_rows_touched),
            *(percent(found.access.top_1_percent), percent(found.access.top_10_percent), found.access.max_lookups),
        )
        for found in report.tables
    ]
    return table(rows, headers)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _share(count: int, rate: float | None) -> str:
    return f"{count:,} ({percent(rate)})" if count and rate is not None else f"{count:,}"


def _norm(vector: tuple[float, ...] | None) -> float | None:
    return None if vector is None else sum(value * value for value in vector) ** 0.5

"""`embsnap stats`."""

from __future__ import annotations

from typing import Any

import click

from embsnap.cli.output import Write, emit, format_bytes, renders, table, to_json, write_findings, write_unchecked
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.stats_options import options_of, stats_options
from embsnap.cli.vocab_options import percent
from embsnap.model.statistics import row_counts
from embsnap.model.table_stats import Popularity, RowStats, SnapshotStats, TableStats

__all__ = ["command"]

_NORM_COLUMNS = ("p0", "p1", "p50", "p99", "p100")


@click.command("stats")
@click.argument("uri")
@click.option(
    "--out",
    "outs",
    multiple=True,
    metavar="URI",
    help="A file that ends in .json, .csv or .prom (OpenMetrics), or a .parquet history to append to. May be repeated.",
)
@click.option("--tensorboard", metavar="DIR", help="Add scalars and histograms to this log directory.")
@click.option("--wandb", "wandb_project", metavar="PROJECT", help="Log to this project of Weights & Biases.")
@click.option("--wandb-mode", type=click.Choice(["online", "offline"]), help="For --wandb.  [default: wandb's own]")
@stats_options
def command(uri: str, **typed: Any) -> int:
    """Show what the rows of a snapshot's tables are like: norms, dead rows, duplicates, spectrum.

    Each row is read once, and all is exact unless --sample-rows, which states 95 % confidence intervals. Tables are
    those of --table, else those that --config logs, else all. With --vocab TABLE=URI a table's statistics are also
    given by decile of its entities' counts. What each number means is in docs/statistics.md.

    \b
    Examples:
      embsnap stats /data/run7@latest
      embsnap stats /data/run7/12000 --table user --vocab user=/data/vocab/user --json
      embsnap stats /data/run7@latest --config job.yaml --at model.embeddings --out stats.parquet --out today.prom
      embsnap stats /data/run7@latest --sample-rows 1000000 --without duplicates --tensorboard /logs/run7

    \b
    Exit codes:
      0  computed (or planned), whatever the statistics are
      2  usage
      3  nothing there, no such step, no such table
      4  not a committed, readable snapshot
      5  a vocabulary does not fit its table, or a table has no norms
      6  storage, permission, disk full
      7  refused: an output is taken
    """
    from embsnap.ops.stats.outputs import Outputs
    from embsnap.ops.stats.plan import plan_stats

    storage, as_json, quiet, dry_run = (typed[name] for name in ("storage_options", "as_json", "quiet", "dry_run"))
    trackers = {name: typed.pop(name) for name in ("tensorboard", "wandb_project", "wandb_mode")}
    outputs = Outputs(files=typed.pop("outs"), storage_options=storage, **trackers)
    options = options_of(**typed)
    scan = plan_stats(uri, options)
    if dry_run:
        emit(scan.result(outputs.described), as_json=as_json)
        return 0
    with progress_on_stderr(quiet=quiet) as progress:
        found = scan.compute(progress=progress)
    emit(outputs.write(found, options.digest(), to_json), as_json=as_json)
    return 0


@renders(SnapshotStats)
def _render(found: SnapshotStats, write: Write) -> None:
    write(f"snapshot: {found.uri}" + ("" if found.step is None else f", step {found.step}"))
    for lines in (_shapes(found), _rows(found), _norms(found), _directions(found), _ranks(found)):
        if lines:
            write("")
            for line in lines:
                write(line)
    for shown in found.tables:
        if shown.popularity is not None:
            _write_popularity(shown, shown.popularity, write)
    _write_intervals(found, write)
    write("")
    for skipped in found.skipped:
        write(f"left out: {skipped.name}: {skipped.reason}")
    write_findings(found.findings, write)
    for output in found.written:
        write(f"written: {output}")
    write_unchecked(found.num_unchecked_rows, write)
    write(f"read {format_bytes(found.num_bytes_read)} in {found.seconds:.1f} s")


def _shapes(found: SnapshotStats) -> list[str]:
    rows = [
        (
            *(shown.name, shown.num_embeddings, shown.embedding_dim, shown.dtype, shown.sharding.value),
            "all rows" if shown.sample_rows is None else f"a sample of {shown.sample_rows:,}",
        )
        for shown in found.tables
    ]
    return table(rows, ("table", "rows", "dim", "dtype", "sharding", "statistics of"))


def _rows(found: SnapshotStats) -> list[str]:
    headers = (
        "rows of",
        "dead",
        f"norm ≤ {found.near_zero:g}",
        "exploded",
        "non-finite",
        "never updated",
        "duplicates",
    )
    return table([(shown.name, *_counts(shown.rows), _duplicates(shown)) for shown in found.tables], headers)


def _counts(rows: RowStats) -> tuple[str | None, ...]:
    counts = dict(row_counts(rows))
    kinds = ("dead", "near_zero", "exploded", "non_finite")
    known = tuple(_of(counts[kind], rows.num_rows) for kind in kinds)
    return (*known, _of(counts["never_updated"], rows.num_rows) if "never_updated" in counts else "unknown")


def _duplicates(shown: TableStats) -> str | None:
    found = shown.duplicates
    return None if found is None else _of(found.num_duplicates, shown.rows.num_rows)


def _of(count: int, num_rows: int) -> str:
    return f"{count:,} ({percent(count / num_rows)})" if count else "0"


def _norms(found: SnapshotStats) -> list[str]:
    rows = [(shown.name, *_norm_cells(shown.rows)) for shown in found.tables]
    return table(rows, ("norms of", "mean", "std", *_NORM_COLUMNS))


def _norm_cells(rows: RowStats) -> tuple[float | None, ...]:
    if rows.norms is None:
        return (None,) * (2 + len(_NORM_COLUMNS))
    return (rows.norms.mean, rows.norms.std, *(rows.norms.percentiles[name] for name in _NORM_COLUMNS))


def _directions(found: SnapshotStats) -> list[str]:
    headers = ("directions of", "dim", "effective rank", "centred", "stable rank", "information abundance")
    rows = [
        (shown.name, shown.embedding_dim, *_direction_cells(shown.rows), shown.rows.mean_cosine)
        for shown in found.tables
    ]
    return table(rows, (*headers, "IsoScore", "average cosine"))


def _direction_cells(rows: RowStats) -> tuple[float | None, ...]:
    found = rows.spectrum
    if found is None:
        return (None,) * 5
    ranks = (found.effective_rank, found.centred_effective_rank, found.stable_rank)
    return (*ranks, found.information_abundance, found.iso_score)


def _ranks(found: SnapshotStats) -> list[str]:
    rows = [
        (rank.name, rank.num_rows, format_bytes(rank.num_bytes), rank.mean_norm)
        for shown in found.tables
        for rank in shown.ranks
    ]
    return table(rows, ("rank", "rows", "bytes", "mean norm")) if rows else []


def _write_popularity(shown: TableStats, found: Popularity, write: Write) -> None:
    correlation = "unknown" if found.norm_correlation is None else f"{found.norm_correlation:.4g}"
    write("")
    write(f"{shown.name} by popularity: norm and count correlate by {correlation} (Spearman)")
    headers = ("decile", "entities", "largest count", "least count", "dead", "near zero", "exploded", "non-finite")
    rows = [
        (
            *(decile.number, decile.num_entities, decile.max_count, decile.min_count, *_counts(decile.rows)),
            *(_norm_cells(decile.rows)[0], _norm_cells(decile.rows)[4], _direction_cells(decile.rows)[0]),
            decile.rows.mean_cosine,
        )
        for decile in found.deciles
    ]
    further = ("never updated", "mean norm", "median norm", "effective rank", "average cosine")
    for line in table(rows, (*headers, *further)):
        write(line)


def _write_intervals(found: SnapshotStats, write: Write) -> None:
    rows = [
        (shown.name, name, interval.low, interval.high)
        for shown in found.tables
        for name, interval in shown.intervals.items()
    ]
    if rows:
        write("")
        for line in table(rows, ("95 % intervals of", "statistic", "from", "to")):
            write(line)

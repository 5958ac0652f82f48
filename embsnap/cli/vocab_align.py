"""`embsnap vocab align`."""

from __future__ import annotations

import click

from embsnap.cli.options import dry_run_option, json_option, quiet_option, require_out, storage_option, threads_option
from embsnap.cli.output import Write, emit, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import columns_of, percent, vocab_column_option
from embsnap.model.vocab_alignment import AlignedVocab, VocabAlignment

__all__ = ["command"]


@click.command("align")
@click.argument("old")
@click.argument("new")
@click.option("--num-embeddings", type=click.IntRange(min=1), help="Rows of the new table; else as many as it needs.")
@click.option("--num-old-rows", type=click.IntRange(min=1), help="Rows of the old table; else as many as it needs.")
@click.option("--out", metavar="URI", help="The row map: a file (*.parquet), or an empty directory.")
@click.option("--ids/--no-ids", "with_ids", default=True, show_default=True, help="Write entity ids beside the rows.")
@vocab_column_option
@dry_run_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    old: str,
    new: str,
    num_embeddings: int | None,
    num_old_rows: int | None,
    out: str | None,
    with_ids: bool,
    vocab_columns: dict[str, str],
    dry_run: bool,
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the row map from an OLD vocabulary to a NEW one as parquet.

    Each record is an entity of the new vocabulary: its row there, its row in the old one (null if that does not know
    it), and its id. It can be looked at and joined in SQL, and `embsnap warmstart --remap TABLE=URI` takes it in place
    of the two vocabularies.

    \b
    Examples:
      embsnap vocab align monday/user tuesday/user --out remap.parquet
      embsnap vocab align monday/user tuesday/user --num-embeddings 8000000 --num-old-rows 8000000 --dry-run

    \b
    Exit codes:
      0  written (or computed)
      2  usage
      3  a vocabulary is not there
      4  a damaged file
      5  not a vocabulary, ids of different types, duplicates, rows beyond a table, or no entity in both
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    from embsnap.ops.vocab_align import AlignOptions, plan_alignment, write_alignment

    require_out(out, dry_run=dry_run)
    options = AlignOptions(
        num_embeddings=num_embeddings,
        num_old_rows=num_old_rows,
        with_ids=with_ids,
        columns=columns_of(vocab_columns),
        threads=threads,
        storage_options=storage_options,
    )
    with progress_on_stderr(quiet=quiet) as progress:
        plan = plan_alignment(old, new, options, progress=progress)
        result = plan.result if dry_run or out is None else write_alignment(plan, out)
    emit(result, as_json=as_json)


@renders(VocabAlignment)
def _render(result: VocabAlignment, write: Write) -> None:
    sides = ((name, side.num_entities, side.num_rows, side.fingerprint, side.uri) for name, side in _sides(result))
    for line in table(sides, ("", "entities", "rows", "fingerprint", "vocabulary")):
        write(line)
    write("")
    write(f"carried: {result.num_carried:,}, of which {result.num_moved:,} move to another row")
    write(f"new: {result.num_new:,}; dropped: {result.num_dropped:,}")
    write(f"rows without an entity: {result.num_unoccupied:,}")
    weighted = percent(result.weighted_coverage)
    write(f"coverage: {percent(result.coverage)}{f', weighted by counts {weighted}' if weighted else ''}")
    write_findings(result.findings, write)
    num_records = result.num_carried + result.num_new
    columns = "new_row, old_row, id" if result.with_ids else "new_row, old_row"
    if result.destination is None:
        write(f"dry run, nothing written: {num_records:,} records of {columns}")
    else:
        write(f"wrote {num_records:,} records of {columns} to {result.destination}")


def _sides(result: VocabAlignment) -> tuple[tuple[str, AlignedVocab], ...]:
    return ("old", result.old), ("new", result.new)

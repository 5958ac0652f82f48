"""`embsnap vocab diff`."""

from __future__ import annotations

import click

from embsnap.cli.options import json_option, quiet_option, storage_option, threads_option
from embsnap.cli.output import Write, emit, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_inspect import entity_lines
from embsnap.cli.vocab_options import columns_of, percent, vocab_column_option
from embsnap.model.vocab_diff import DiffedVocab, VocabDiff

__all__ = ["command"]


@click.command("diff")
@click.argument("uri_a", metavar="A")
@click.argument("uri_b", metavar="B")
@click.option("--show", type=click.IntRange(min=0), default=5, show_default=True, help="Entities in each list.")
@vocab_column_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    uri_a: str,
    uri_b: str,
    show: int,
    vocab_columns: dict[str, str],
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
) -> int:
    """Compare vocabularies A and B: shared entities, moved rows, changed counts.

    Entities are matched by id. Where both sides have counts, the overlap is weighted by them: the sum of the smaller
    counts over the sum of the larger ones. The order of the records, the files and their encoding make no difference.

    \b
    Examples:
      embsnap vocab diff /data/monday/user /data/tuesday/user
      embsnap vocab diff old.parquet new.parquet --show 20 --json

    \b
    Exit codes:
      0  the same entities in the same rows, with the same counts where both have them
      1  they differ
      2  usage
      3  one is not there
      4  a damaged file
      5  not a vocabulary, or ids of different types
      6  the storage failed
    """
    from embsnap.ops.vocab_diff import VocabDiffOptions, diff_vocabularies

    options = VocabDiffOptions(
        columns=columns_of(vocab_columns), num_shown=show, threads=threads, storage_options=storage_options
    )
    with progress_on_stderr(quiet=quiet) as progress:
        result = diff_vocabularies(uri_a, uri_b, options, progress=progress)
    emit(result, as_json=as_json)
    return 0 if result.same else 1


@renders(VocabDiff)
def _render(diff: VocabDiff, write: Write) -> None:
    rows = [_side("A", diff.a), _side("B", diff.b)]
    for line in table(rows, ("", "entities", "only here", "counts", "shared counts", "fingerprint", "vocabulary")):
        write(line)
    write("")
    write(f"shared: {diff.num_shared:,} entities, {percent(diff.overlap) or '-'} of those on either side")
    if diff.weighted_overlap is not None:
        write(f"weighted by counts: {percent(diff.weighted_overlap)}")
    write(f"moved: {diff.num_moved:,} of them have another row")
    for line in table(((str(m.id), m.row_a, m.row_b) for m in diff.moved), ("id", "row in A", "row in B")):
        if diff.moved:
            write(line)
    if diff.num_counts_changed is not None:
        write(f"counts: {diff.num_counts_changed:,} of them have another count")
    for line in _movers(diff):
        write(line)
    for name, side in (("A", diff.a), ("B", diff.b)):
        if side.only:
            write(f"only in {name}, {len(side.only)} of {side.num_only:,}")
            for line in entity_lines(side.only):
                write(line)
    write_findings(diff.findings, write)
    write(f"the vocabularies {'are the same' if diff.same else 'differ'}")


def _side(name: str, side: DiffedVocab) -> tuple[object, ...]:
    counts = (side.total_count, percent(side.shared_weight))
    return (name, side.num_entities, side.num_only, *counts, side.fingerprint, side.uri)


def _movers(diff: VocabDiff) -> list[str]:
    if not diff.top_movers:
        return []
    rows = ((str(m.id), m.count_a, m.count_b, f"{m.count_b - m.count_a:+,}") for m in diff.top_movers)
    return table(rows, ("id", "count in A", "count in B", "change"))

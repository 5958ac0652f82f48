"""`embsnap projector`."""

from __future__ import annotations

from typing import Any

import click

from embsnap.cli.lines import read_lines
from embsnap.cli.options import (
    by_table_option,
    dry_run_option,
    json_option,
    quiet_option,
    require_out,
    storage_option,
    threads_option,
)
from embsnap.cli.output import Write, emit, format_bytes, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import columns_of, vocab_column_option
from embsnap.model.projection import Projection

__all__ = ["command"]


@click.command("projector")
@click.argument("uri")
@click.option("--out", metavar="URI", help="The directory to write, which must not hold anything yet.")
@click.option("--table", "tables", multiple=True, metavar="NAME", help="A table; may be repeated. All, without it.")
@by_table_option("--vocab", "vocab", "Vocabulary of a table, if not the one that its sidecar records")
@click.option("--id", "ids", multiple=True, metavar="ID", help="An entity id to take; may be repeated.")
@click.option(
    "--ids-from", metavar="FILE", help="A text file with one entity id to take in each line; - reads them from stdin."
)
@click.option(
    "--sample",
    "num_sampled",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Entities of each table, where no ids are given.",
)
@click.option(
    "--order",
    type=click.Choice(["count", "random"]),
    default="count",
    show_default=True,
    help="Take those seen most often, or any, the same ones every time.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["tsv", "bytes"]),
    default="tsv",
    show_default=True,
    help="Points as text, or as float32.",
)
@vocab_column_option
@dry_run_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    uri: str,
    out: str | None,
    ids: tuple[str, ...],
    ids_from: str | None,
    order: str,
    form: str,
    vocab_columns: dict[str, str],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **typed: Any,
) -> None:
    """Write a sample of tables as files for TensorBoard's Embedding Projector.

    Each table becomes a file of points, a file of labels (entity id, row, count, norm) and an entry of
    projector_config.pbtxt, which is written last. `tensorboard --logdir DIR` shows them; a .tsv with its labels can be
    loaded at projector.tensorflow.org by hand, too. Rows that are not finite are left out, and counted.

    \b
    Examples:
      embsnap projector runs/day2@latest --vocab user=/data/user --out projector
      embsnap projector runs/day2@latest --table user --sample 2000 --order random --out projector
      embsnap projector runs/day2@latest --table user --ids-from ids.txt --dry-run

    \b
    Exit codes:
      0  written (or planned)
      2  usage
      3  no such snapshot, table, vocabulary or entity
      4  not a committed, readable snapshot
      5  a vocabulary that does not fit
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    from embsnap.ops.projector.options import PointFormat, ProjectorOptions, SampleOrder
    from embsnap.ops.projector.plan import plan_projection
    from embsnap.ops.projector.writing import write_projection

    require_out(out, dry_run=dry_run)
    options = ProjectorOptions(
        ids=(*ids, *(() if ids_from is None else read_lines(ids_from))),
        order=SampleOrder(order),
        form=PointFormat(form),
        columns=columns_of(vocab_columns),
        **typed,
    )
    with progress_on_stderr(quiet=quiet) as progress:
        plan = plan_projection(uri, options, progress=progress)
        result = plan.result if dry_run or out is None else write_projection(plan, out)
    emit(result, as_json=as_json)


@renders(Projection)
def _render(result: Projection, write: Write) -> None:
    rows = [
        (found.name, found.num_points, found.num_entities, found.dim, found.chosen_by, found.tensor_file)
        for found in result.tables
    ]
    for line in table(rows, ("table", "points", "of", "dim", "chosen by", "file")):
        write(line)
    write_findings(result.findings, write)
    to_read, to_write = format_bytes(result.num_bytes_to_read), format_bytes(result.num_bytes_to_write)
    if result.destination is None:
        write(f"dry run, nothing written: {to_read} to read, about {to_write} to write")
    else:
        write(f"wrote {to_write} to {result.destination}; show it with: tensorboard --logdir {result.destination}")

"""`embsnap import`."""

from __future__ import annotations

from typing import Any

import click

from embsnap.cli.options import dry_run_option, json_option, quiet_option, require_out, storage_option, threads_option
from embsnap.cli.output import Write, emit, format_bytes, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import vocab_column_option
from embsnap.model.exchange import ExchangeFormat, ImportResult

__all__ = ["command"]


@click.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="NAME=URI...|DIRECTORY")
@click.option("--out", metavar="URI", help="The snapshot to write.")
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in ExchangeFormat]),
    help="What the files are; else told by their names.",
)
@click.option("--vocab-out", metavar="URI", help="Directory for the vocabularies of files with ids: NAME.parquet.")
@click.option("--by-position", is_flag=True, help="Leave ids out, and import the vectors alone.")
@click.option("--compact", is_flag=True, help="Number rows in the order of the file, whatever rows it gives.")
@click.option(
    "--prefix",
    metavar="APP_KEY/MODULE_PATH",
    help="Where in the state dict the tables are.  [default: where they were exported from, else model/ebc]",
)
@click.option("--vector-column", metavar="NAME", help="Column or tensor of the vectors, if it has an unusual name.")
@click.option(
    "--id-type",
    type=click.Choice(["int64", "uint64", "string", "binary"]),
    help="What ids are that stand as text.  [default: string; csv: told by how they are written]",
)
@vocab_column_option
@dry_run_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    sources: tuple[str, ...],
    out: str | None,
    form: str | None,
    id_type: str | None,
    vocab_columns: dict[str, str],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **typed: Any,
) -> None:
    """Make a snapshot of files with vectors: parquet, arrow, npy, safetensors, csv, word2vec, GloVe.

    Each NAME=URI becomes a table; a directory that `embsnap export` wrote becomes all of its tables. Vectors keep the
    rows that the file gives them, else they are numbered in its order; rows without a vector are drawn as torchrec
    draws them. The ids go to vocabularies of their own, which the snapshot's sidecar names. Text of word2vec's form may
    begin with its two numbers (gensim) or not (GloVe).

    \b
    Examples:
      embsnap import user=user.parquet --vocab-out vocabularies --out runs/imported
      embsnap import word=glove.6B.300d.txt --vocab-out vocabularies --out runs/words
      embsnap import word=GoogleNews-vectors-negative300.bin --vocab-out vocabularies --out runs/words
      embsnap import exported --vocab-out vocabularies --out runs/again
      embsnap import user=user.npy post=post.npy --by-position --out runs/imported

    \b
    Exit codes:
      0  written (or planned)
      2  usage, or nothing says what becomes of the ids
      3  there is no such file
      4  a file is damaged, or not what its name says
      5  ids or rows that no vocabulary can have, or vectors of different lengths
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    from embsnap.model.vocabulary import IdType
    from embsnap.ops.importing.options import ImportOptions
    from embsnap.ops.importing.plan import plan_import
    from embsnap.ops.importing.writing import write_import

    require_out(out, dry_run=dry_run)
    options = ImportOptions(
        format=None if form is None else ExchangeFormat(form),
        id_type=None if id_type is None else IdType(id_type),
        columns=vocab_columns,
        **typed,
    )
    with progress_on_stderr(quiet=quiet) as progress:
        plan = plan_import(_by_name(sources), out, options, progress=progress)
        result = plan.result if dry_run else write_import(plan, progress=progress)
    emit(result, as_json=as_json)


def _by_name(sources: tuple[str, ...]) -> dict[str, str] | str:
    """One directory, or files by the name of their table."""
    if len(sources) == 1 and "=" not in sources[0]:
        return sources[0]
    found: dict[str, str] = {}
    for source in sources:
        name, equals, uri = source.partition("=")
        if not equals or not name or not uri:
            raise click.UsageError(f"{source!r} is not of the form NAME=URI.")
        if name in found:
            raise click.UsageError(f"Two files are given for the table {name!r}.")
        found[name] = uri
    return found


@renders(ImportResult)
def _render(result: ImportResult, write: Write) -> None:
    rows = [
        (found.name, found.num_vectors, found.num_embeddings, found.dim, found.dtype, found.format.value, found.source)
        for found in result.tables
    ]
    for line in table(rows, ("table", "vectors", "rows", "dim", "dtype", "format", "source")):
        write(line)
    for found in result.tables:
        if found.num_drawn:
            write(f"{found.name}: {found.num_drawn:,} rows have no vector: {found.initializer}")
        if found.vocab is not None:
            write(f"{found.name}: {found.id_type} ids, vocabulary {found.vocab}, fingerprint {found.fingerprint}")
    write_findings(result.findings, write)
    size = format_bytes(result.num_bytes_to_write)
    if result.destination is None:
        write(f"dry run, nothing written: {size} to write")
    else:
        write(f"wrote {size} to {result.destination} in {result.seconds:.1f} s")

"""`embsnap vocab validate`."""

from __future__ import annotations

import click

from embsnap.cli.options import json_option, quiet_option, storage_option, threads_option
from embsnap.cli.output import Write, emit, renders, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.cli.vocab_options import columns_of, reserved_option, vocab_column_option
from embsnap.model.findings import Severity
from embsnap.model.vocab_validation import VocabValidation

__all__ = ["command"]


@click.command("validate")
@click.argument("uri")
@click.option(
    "--num-embeddings",
    type=click.IntRange(min=1),
    help="Rows of the table; as the metadata say by default, or as many as needed.",
)
@reserved_option
@vocab_column_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    uri: str,
    num_embeddings: int | None,
    reserved: tuple[tuple[int, int], ...],
    vocab_columns: dict[str, str],
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
) -> int:
    """Check a vocabulary: every defect is listed, with how many there are and examples.

    Errors are ids and rows given twice, rows without an entity that nothing declares free or reserved, entities in
    reserved rows or beyond the table, nulls, negative rows, files whose ids differ in type, and a fingerprint that is
    not the recorded one. Warnings are string ids that differ only in white space, case or zeros before a number. Rows
    that are not sorted are noted.

    \b
    Examples:
      embsnap vocab validate /data/user
      embsnap vocab validate /data/user --num-embeddings 8000000 --reserved 0:3 --json

    \b
    Exit codes:
      0  neither errors nor warnings
      1  errors or warnings
      2  usage
      3  nothing there
      4  a damaged file
      6  the storage failed
    """
    from embsnap.ops.vocab_validate import VocabValidateOptions, validate_vocabulary

    options = VocabValidateOptions(
        num_embeddings=num_embeddings,
        reserved=reserved,
        columns=columns_of(vocab_columns),
        threads=threads,
        storage_options=storage_options,
    )
    with progress_on_stderr(quiet=quiet) as progress:
        result = validate_vocabulary(uri, options, progress=progress)
    emit(result, as_json=as_json)
    return 0 if result.ok else 1


@renders(VocabValidation)
def _render(found: VocabValidation, write: Write) -> None:
    rows = "" if found.num_embeddings is None else f", for a table of {found.num_embeddings:,} rows"
    types = " and ".join(found.id_types) or "no"
    write(f"vocabulary: {found.uri}: {found.num_entities:,} entities with {types} ids{rows}")
    if found.fingerprint is not None:
        write(f"fingerprint: {found.fingerprint}")
    write(f"checked: {', '.join(check.name for check in found.checks if check.skipped is None)}")
    for check in found.checks:
        if check.skipped is not None:
            write(f"not checked: {check.name}: {check.skipped}")
    write_findings(found.findings, write)
    numbers = [sum(finding.severity is severity for finding in found.findings) for severity in Severity]
    said = ", ".join(
        f"{num} {severity}{'' if num == 1 else 's'}" for num, severity in zip(numbers, Severity, strict=True)
    )
    write(f"{'sound' if found.ok else 'not sound'}: {said}")

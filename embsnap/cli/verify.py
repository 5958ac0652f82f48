"""`embsnap verify`."""

from __future__ import annotations

import click

from embsnap.cli.options import (
    NumberRange,
    by_table_option,
    dry_run_option,
    json_option,
    quiet_option,
    storage_option,
    threads_option,
)
from embsnap.cli.output import Write, emit, format_bytes, renders, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.model.findings import Severity
from embsnap.model.repair import Repair
from embsnap.model.verification import Level, LevelReport, Outcome, Verification

__all__ = ["command"]


@click.command("verify")
@click.argument("uri")
@click.option(
    "--level",
    type=click.Choice([level.value for level in Level]),
    help="Check up to this level, which must not be skipped; by default all that can be checked.",
)
@by_table_option("--vocab", "vocabularies", "Vocabulary of a table, checked against it")
@click.option(
    "--sample",
    type=NumberRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the blocks whose values are looked at.",
)
@click.option(
    "--write-checksums", is_flag=True, help="Add a sidecar with checksums, if nothing is wrong and there is none."
)
@click.option(
    "--repair", is_flag=True, help="Write a new snapshot, in which damaged objects are those of --from; see --out."
)
@click.option("--out", metavar="URI", help="Where --repair writes to; nothing else is changed.")
@click.option("--from", "donor", metavar="URI", help="Snapshot that --repair takes damaged objects from.")
@dry_run_option
@threads_option
@storage_option
@json_option
@quiet_option
def command(
    uri: str,
    level: str | None,
    vocabularies: dict[str, str],
    sample: float,
    write_checksums: bool,
    repair: bool,
    out: str | None,
    donor: str | None,
    dry_run: bool,
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
) -> int:
    """Check a snapshot level by level, from its metadata to its last byte, and list all that is wrong.

    The levels are committed (metadata and sidecar can be read), structure (containers list exactly their children,
    known types), geometry (pieces cover every array exactly), bytes (objects are there and long enough, ranges
    disjoint or the same), checksums (as the sidecar or the storage recorded them), values (nothing infinite or not a
    number, no table all zero) and vocab (ids and rows unique and in range, the recorded fingerprint). A level that
    lacks what it needs is skipped, with the reason; --level demands one, and all before it. Objects are read once.

    --repair writes a new snapshot to --out, the same to the last byte as the one that was written: each damaged object
    is taken from another copy, given by --from, if its checksum is the recorded one, or the copy has the same metadata.
    Where that is not so nothing is written, and what is damaged is listed.

    \b
    Examples:
      embsnap verify /data/run7@latest
      embsnap verify gs://bucket/run7/12000 --level bytes --json
      embsnap verify /data/run7/12000 --vocab user=/vocab/user --vocab post=/vocab/post
      embsnap verify /data/run7/12000 --write-checksums
      embsnap verify /data/run7/12000 --repair --from gs://bucket/run7/12000 --out /data/run7-repaired/12000

    \b
    Exit codes:
      0  nothing is wrong, as far as it was checked; or repaired (or planned)
      1  errors or warnings, or a level that was demanded could not be checked
      2  usage
      3  nothing there, no such step, no such table or vocabulary
      4  not a committed, readable snapshot; or it cannot be repaired
      6  the storage failed
      7  refused: there is a sidecar already, or something at --out
    """
    from embsnap.ops.verify.verify import VerifyOptions, verify

    _check_repair(repair, out, donor, dry_run, bool(level or vocabularies or write_checksums or sample != 1))
    if repair and out is not None:
        _repair(uri, out, donor, dry_run, threads, storage_options, as_json, quiet)
        return 0
    options = VerifyOptions(
        level=None if level is None else Level(level),
        vocabularies=vocabularies,
        sample=sample,
        write_checksums=write_checksums,
        threads=threads,
        storage_options=storage_options,
    )
    with progress_on_stderr(quiet=quiet) as progress:
        result = verify(uri, options, progress=progress)
    emit(result, as_json=as_json)
    return 0 if result.ok else 1


def _check_repair(repair: bool, out: str | None, donor: str | None, dry_run: bool, has_others: bool) -> None:
    """Refuse options that do not go together."""
    if repair and out is None:
        raise click.UsageError("--repair needs --out: it only ever writes to a new place.")
    if not repair and (out is not None or donor is not None or dry_run):
        raise click.UsageError("--out, --from and --dry-run belong to --repair.")
    if repair and has_others:
        raise click.UsageError("--repair goes without --level, --vocab, --sample and --write-checksums.")


def _repair(
    uri: str,
    out: str,
    donor: str | None,
    dry_run: bool,
    threads: int,
    storage_options: dict[str, str],
    as_json: bool,
    quiet: bool,
) -> None:
    from embsnap.ops.verify.repair import RepairOptions, plan_repair, write_repair

    options = RepairOptions(donor=donor, threads=threads, storage_options=storage_options)
    with progress_on_stderr(quiet=quiet) as progress:
        plan = plan_repair(uri, out, options, progress=progress)
        result = plan.result() if dry_run else write_repair(plan, progress=progress)
    emit(result, as_json=as_json)


@renders(Repair)
def _render_repair(found: Repair, write: Write) -> None:
    write(f"snapshot: {found.uri}")
    for each in found.mended:
        write(f"  {each.location}: {each.problem}")
        write(f"    taken from {each.source}: {each.proof}")
    write_findings(found.findings, write)
    amount = f"{found.copied.num_objects:,} objects, {format_bytes(found.copied.num_bytes)}"
    if found.applied:
        write(f"repaired to {found.destination}: {amount}")
    else:
        write(f"dry run, nothing written: {amount} to {found.destination}")


@renders(Verification)
def _render(found: Verification, write: Write) -> None:
    write(f"snapshot: {found.uri}")
    width = max(len(level) for level in Level)
    for report in found.levels:
        write(f"  {report.level:{width}}  {_result(report, found)}")
    for report in found.levels:
        write_findings(report.findings, write)
    if found.sidecar is not None:
        write(f"checksums written: {found.sidecar}")
    numbers = [sum(finding.severity is severity for finding in found.findings) for severity in Severity]
    said = ", ".join(
        f"{number} {severity}{'' if number == 1 else 's'}" for number, severity in zip(numbers, Severity, strict=True)
    )
    read = f"{format_bytes(found.num_bytes_read)} read in {found.seconds:.1f} s"
    write(f"{'sound' if found.ok else 'not sound'}: {said}; {read}")


def _result(report: LevelReport, found: Verification) -> str:
    if report.unit == "":
        demanded = "demanded, and skipped" if report.outcome is Outcome.FAILED else "skipped"
        return f"{demanded}: {report.reason}"
    count = sum(finding.count for finding in report.findings if finding.severity is not Severity.NOTE)
    unit = _singular(report.unit) if report.num_checked == 1 else report.unit
    text = f"{report.outcome.value}: {report.num_checked:,} {unit}"
    text += f", {count:,} bad" if count else ""
    return f"{text} ({report.reason})" if report.reason is not None else text


def _singular(unit: str) -> str:
    """One of them.

    >>> _singular("entries"), _singular("arrays")
    ('entry', 'array')
    """
    return f"{unit.removesuffix('ies')}y" if unit.endswith("ies") else unit.removesuffix("s")

"""`embsnap migrate`."""

from __future__ import annotations

from typing import Any

import click

from embsnap.cli.options import (
    NumberRange,
    at_option,
    check_option,
    dry_run_option,
    json_option,
    memory_budget_option,
    quiet_option,
    require_out,
    storage_option,
    threads_option,
)
from embsnap.cli.output import Write, emit, format_bytes, renders, table, write_findings, write_unchecked
from embsnap.cli.progress import progress_on_stderr
from embsnap.config.environ import config_environ
from embsnap.model.migration import MigratedTable, MigrationResult, PlanDocument

__all__ = ["command"]


@click.command("migrate")
@click.argument("plan", metavar="[PLAN]", required=False)
@click.argument("source", metavar="[FROM]", required=False)
@click.option("--out", metavar="URI", help="The new snapshot. It must not exist yet.")
@click.option("--resume", is_flag=True, help="Take over what an earlier run of the same plan has finished at --out.")
@click.option("--table", "tables", multiple=True, metavar="NAME", help="Migrate only this table; may be repeated.")
@click.option("--max-error", type=NumberRange(0), help="Largest change of a value by a cast that names no bound.")
@click.option("--vocab-out", metavar="URI", help="Where vocabularies that steps make are written. [default: URI-vocab]")
@click.option("--replay", metavar="URI", help="Print the plan that made the snapshot at URI.")
@click.option("--reverse", metavar="URI", help="Print the plan that takes the making of the snapshot at URI back.")
@at_option
@check_option
@dry_run_option
@threads_option
@memory_budget_option
@storage_option
@json_option
@quiet_option
def command(
    plan: str | None,
    source: str | None,
    out: str | None,
    replay: str | None,
    reverse: str | None,
    as_json: bool,
    quiet: bool,
    storage_options: dict[str, str],
    **options: Any,
) -> int:
    """Change tables of a snapshot by a plan: rename, move, resize, cast, merge, split, prune, repair.

    PLAN is YAML with a list of `steps`, or a Python script that defines `migrate(migration)`; FROM is the snapshot that
    it is applied to. All steps of a table are done in one pass over its rows, with its optimizer state; everything else
    of the snapshot is copied byte for byte, unopened. Everything is checked before anything is written, and the new
    snapshot becomes visible in one step, at the end.

    \b
    Examples:
      embsnap migrate plan.yaml runs/day1/7 --dry-run
      embsnap migrate plan.yaml runs/day1/7 --out runs/migrated
      embsnap migrate plan.yaml runs/day1@latest --out runs/migrated --resume --table user
      embsnap migrate prune.py runs/day1/7 --out runs/pruned
      embsnap migrate --replay runs/migrated > plan.yaml
      embsnap migrate --reverse runs/migrated > back.yaml

    \b
    Exit codes:
      0  written (or planned, or printed)
      1  --reverse: a step has no inverse
      2  usage, or a wrong plan
      3  no such plan, snapshot, table or vocabulary
      4  not a committed, readable snapshot
      5  shapes, dtypes, vocabularies or row maps do not fit, or a cast loses more than is allowed
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    if replay is not None or reverse is not None:
        return _print_plan(replay, reverse, plan, storage_options, as_json=as_json)
    if plan is None or source is None:
        raise click.UsageError(f"Missing argument '{'PLAN' if plan is None else 'FROM'}'.")
    require_out(out, dry_run=options["dry_run"])
    with progress_on_stderr(quiet=quiet) as progress:
        result = _run(plan, source, out, storage_options, progress=progress, **options)
    emit(result, as_json=as_json)
    return 0


def _run(
    plan: str,
    source: str,
    out: str | None,
    storage_options: dict[str, str],
    *,
    at: str | None,
    dry_run: bool,
    resume: bool,
    progress: Any,
    **options: Any,
) -> MigrationResult:
    from embsnap.ops.destination import check_free
    from embsnap.ops.migrate.documents import read_plan
    from embsnap.ops.migrate.plan import MigrationOptions

    check_free(out, storage_options)
    settings = MigrationOptions(storage_options=storage_options, **options)
    planned = read_plan(plan, source, settings, at=at, environ=config_environ()).plan(progress=progress)
    if dry_run or out is None:
        return planned.result()
    return planned.apply(out, resume=resume, progress=progress)


def _print_plan(
    replay: str | None, reverse: str | None, plan: str | None, storage_options: dict[str, str], *, as_json: bool
) -> int:
    from embsnap.ops.lineage import replay as plan_of
    from embsnap.ops.lineage import reverse as plan_back

    if plan is not None or (replay is not None and reverse is not None):
        raise click.UsageError("--replay and --reverse stand alone.")
    if replay is not None:
        emit(plan_of(replay, storage_options), as_json=as_json)
        return 0
    assert reverse is not None
    found = plan_back(reverse, storage_options)
    emit(found, as_json=as_json)
    return 1 if found.remarks else 0


@renders(PlanDocument)
def _render_plan(found: PlanDocument, write: Write) -> None:
    import yaml

    write(f"# of {found.uri}, from {', '.join(found.sources)}")
    for remark in found.remarks:
        write(f"# {remark}")
    text = yaml.safe_dump({"steps": [dict(step) for step in found.steps]}, sort_keys=False, allow_unicode=True)
    for line in text.rstrip("\n").split("\n"):
        write(line)


@renders(MigrationResult)
def _render(result: MigrationResult, write: Write) -> None:
    header = ["table", "rows", "dim", "dtype", "bytes", "how", "counts"]
    for line in table([_cells(found) for found in result.tables], header) if result.tables else []:
        write(line)
    write("")
    for found in result.tables:
        _write_details(found, write)
    if result.dropped:
        write(f"tables that are not in it: {', '.join(result.dropped)}")
    for undone in result.undo:
        if undone.reason is not None:
            write(f"no way back from {undone.step}: {undone.reason}")
    write_findings([*(finding for found in result.tables for finding in found.findings), *result.findings], write)
    write_unchecked(result.num_unchecked_rows, write)
    write(_summary(result))


def _cells(found: MigratedTable) -> list[object]:
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found.counts.items() if count)
    shape = [found.name, found.num_embeddings, found.embedding_dim, found.dtype, format_bytes(found.num_bytes)]
    return [*shape, "copied" if found.copied else "rewritten", counts or None]


def _write_details(found: MigratedTable, write: Write) -> None:
    for path in () if found.copied else found.optimizer_state:
        write(f"{found.name}: optimizer state {path}")
    for cast in found.casts:
        cut = f", {cast.num_overflows:,} values cut" if cast.num_overflows else ""
        error = f"largest change {cast.largest_error:.6g}, root mean square {cast.rms_error:.6g}"
        write(f"{found.name}: cast to {cast.to}: {error}{cut}")
    if found.repaired_rows is not None:
        write(f"{found.name}: repaired rows: {found.repaired_rows:,}")
    for name, value in found.figures.items():
        write(f"{found.name}: {name.replace('_', ' ')} {value:.6g}")


def _summary(result: MigrationResult) -> str:
    to_read, to_write = format_bytes(result.num_bytes_to_read), format_bytes(result.num_bytes_to_write)
    memory = format_bytes(result.peak_memory_bytes)
    if not result.applied:
        costs = f"{to_read} to read, {to_write} to write, {memory} of memory, about {result.estimated_s:.1f} s"
        return f"dry run, nothing written: {costs}"
    resumed = f", {format_bytes(result.num_bytes_resumed)} taken over" if result.num_bytes_resumed else ""
    seconds = f"{result.seconds:.1f} s, of which planning {result.planning_seconds:.1f} s"
    return f"wrote {result.destination}: {to_write}{resumed} in {seconds}"

"""`embsnap inspect`."""

from __future__ import annotations

from collections import Counter

import click

from embsnap.cli.escaping import printable
from embsnap.cli.options import json_option, storage_option
from embsnap.cli.output import Write, emit, format_bytes, renders, table, write_findings
from embsnap.model.inspection import EntryGroup, InspectedTable, Origin, RunInspection, SnapshotInspection
from embsnap.model.migration import LineageResult

__all__ = ["command"]

_TABLE_HEADERS = ("table", "rows", "dim", "dtype", "bytes", "sharding", "shards", "ranks", "optimizer state")
_PIECE_HEADERS = ("table", "rank", "offsets", "sizes", "bytes from", "to", "object")


@click.command("inspect")
@click.argument("uri")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--lineage", "show_lineage", is_flag=True, help="Show what the snapshot was made from, and how.")
@json_option
@storage_option
def command(
    uri: str, names: tuple[str, ...], show_lineage: bool, as_json: bool, storage_options: dict[str, str]
) -> int:
    """Show what is in the snapshot at URI: tables, optimizer state, other entries, origin, findings.

    URI is the directory of a snapshot, or RUN@latest or RUN@STEP for one step of a run; the directory of a run shows
    its steps. With NAMEs only those tables are shown, each with the places of its bytes. A NAME is a table's name, its
    state key, or the path of any two-dimensional array. Only metadata is read, never a row.

    \b
    Examples:
      embsnap inspect /data/run7/12000
      embsnap inspect /data/run7@latest user post --json
      embsnap inspect runs/migrated --lineage

    \b
    Exit codes:
      0  the snapshot could be read, whatever was found in it
      2  usage
      3  nothing there, no such step, no such table
      4  not a committed, readable snapshot
      6  the storage failed
    """
    if show_lineage:
        from embsnap.ops.lineage import lineage

        emit(lineage(uri, storage_options), as_json=as_json)
        return 0
    from embsnap.ops.inspect import InspectOptions, inspect

    emit(inspect(uri, InspectOptions(names=names, storage_options=storage_options)), as_json=as_json)
    return 0


@renders(LineageResult)
def _render_lineage(found: LineageResult, write: Write) -> None:
    for ancestor in found.chain:
        made = f", by {ancestor.command}" if ancestor.command else ""
        steps = f": {', '.join(ancestor.steps)}" if ancestor.steps else ""
        line = f"{'  ' * ancestor.generation}{ancestor.uri} ({ancestor.metadata_sha256[:12]}){made}{steps}"
        write(printable(line))


@renders(RunInspection)
def _render_run(run: RunInspection, write: Write) -> None:
    write(f"run: {run.uri}, latest committed step {run.latest}")
    write("")
    for line in table(((step.step, _commitment(step.committed), step.uri) for step in run.steps), ("step", "", "uri")):
        write(line)


@renders(SnapshotInspection)
def _render_snapshot(found: SnapshotInspection, write: Write) -> None:
    write(f"snapshot: {found.uri}")
    write(", ".join(_headline(found)))
    for lines in (_tables(found), _pieces(found), _vocabularies(found), _values(found), _others(found)):
        if lines:
            write("")
            for line in lines:
                write(line)
    if found.origin is not None:
        write("")
        _write_origin(found.origin, write)
    if found.findings:
        write("")
        write_findings(found.findings, write)


def _headline(found: SnapshotInspection) -> list[str]:
    num_tables = len(found.tables)
    parts = [f"torchsnapshot {found.torchsnapshot_version}", f"world size {found.world_size}"]
    parts += [] if found.step is None else [f"step {found.step}"]
    parts += [] if found.walltime is None else [f"walltime {found.walltime:g}"]
    total = format_bytes(sum(table.num_bytes for table in found.tables))
    return [*parts, f"{num_tables} {'table' if num_tables == 1 else 'tables'}, {total}"]


def _tables(found: SnapshotInspection) -> list[str]:
    rows = [_table_cells(label, shown) for label, shown in _labelled(found)]
    return table(rows, _TABLE_HEADERS) if rows else []


def _labelled(found: SnapshotInspection) -> list[tuple[str, InspectedTable]]:
    """Each table with its name, or with its path where several have one name."""
    counts = Counter(shown.name for shown in found.tables)
    return [(shown.name if counts[shown.name] == 1 else shown.path, shown) for shown in found.tables]


def _table_cells(label: str, shown: InspectedTable) -> tuple[object, ...]:
    state = ", ".join(f"{state.name} {state.layout.value} {format_bytes(state.num_bytes)}" for state in shown.state)
    shape = (label, shown.num_embeddings, shown.embedding_dim, shown.dtype, format_bytes(shown.num_bytes))
    return (*shape, shown.sharding.value, shown.num_shards, _spans(shown.ranks), state or None)


def _pieces(found: SnapshotInspection) -> list[str]:
    rows = [
        (label, piece.rank, list(piece.offsets), list(piece.sizes), piece.start, piece.end, piece.location)
        for label, shown in _labelled(found)
        for piece in shown.pieces
    ]
    return table(rows, _PIECE_HEADERS) if rows else []


def _vocabularies(found: SnapshotInspection) -> list[str]:
    rows = [(label, shown.vocabulary, shown.fingerprint) for label, shown in _labelled(found) if shown.vocabulary]
    return table(rows, ("table", "vocabulary", "fingerprint")) if rows else []


def _values(found: SnapshotInspection) -> list[str]:
    rows = [(value.path, repr(value.value)) for value in found.values]
    return table(rows, ("value", "")) if rows else []


def _others(found: SnapshotInspection) -> list[str]:
    grouped: dict[str, list[EntryGroup]] = {}
    for group in found.other_entries:
        grouped.setdefault(group.app_key, []).append(group)
    rows = [
        (app_key, sum(group.num_entries for group in groups), _total(groups), ", ".join(map(_count, groups)))
        for app_key, groups in grouped.items()
    ]
    return table(rows, ("other entries under", "number", "bytes", "types")) if rows else []


def _total(groups: list[EntryGroup]) -> str | None:
    sizes = [group.num_bytes for group in groups if group.num_bytes is not None]
    return format_bytes(sum(sizes)) if sizes else None


def _count(group: EntryGroup) -> str:
    return f"{group.num_entries} {group.type}"


def _write_origin(origin: Origin, write: Write) -> None:
    write(printable(f"written by {origin.tool} on {origin.created}"))
    if origin.command is not None:
        write(printable(f"by the command: {origin.command}"))
    for parent in origin.parents:
        write(printable(f"from the snapshot: {parent}"))
    for name, counts in origin.counts.items():
        write(printable(f"  {name}: {', '.join(f'{count:,} {what}' for what, count in counts.items())}"))


def _commitment(committed: bool) -> str:
    return "committed" if committed else "torn"


def _spans(ranks: tuple[int, ...]) -> str:
    """Ascending numbers as text.

    >>> _spans((0, 1, 2, 5))
    '0-2, 5'
    """
    spans: list[list[int]] = []
    for rank in ranks:
        if spans and rank == spans[-1][1] + 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)

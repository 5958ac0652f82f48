"""`embsnap.diff`: two snapshots compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.model.progress import SILENT, Progress
from embsnap.model.snapshot_diff import Change, DiffedSnapshot, SnapshotDiff, TableDiff
from embsnap.ops.diff.bits import other_bits
from embsnap.ops.diff.gates import Conditions, evaluate
from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.diff.sides import pair_names, read_sides
from embsnap.ops.diff.structure import LAYOUT, other_entries, snapshot_changes
from embsnap.ops.diff.tables import diff_tables
from embsnap.ops.table_names import check_table_names, table_names

__all__ = ["diff_snapshots"]


def diff_snapshots(
    uri_a: str, uri_b: str, options: DiffOptions | None = None, *, progress: Progress = SILENT
) -> SnapshotDiff:
    """Compare two snapshots: their structure, and table by table the rows of each entity.

    Rows are matched by the vocabularies that are given, else by those that the snapshots' sidecars record, else by
    position. Memory: the two vocabularies of one table and their join, as for a warm start, then 41 bytes for each row
    of B's table, and a few blocks of rows for each thread.

    Raises:
        UsageError: `bad-option`: a condition is none; `nothing-to-do`: neither snapshot holds anything to compare.
        NotFoundError: No such snapshot, table or vocabulary.
        SnapshotError: Not a committed, readable snapshot, or a table that cannot be read as it stands.
        IncompatibleError: Vocabularies that do not fit, or are there on one side only.
        StorageError: The storage failed.
    """
    started, options = monotonic(), options or DiffOptions()
    conditions = Conditions(options)
    a, b = (open_snapshot(uri, options=options.storage_options, check=options.check) for uri in (uri_a, uri_b))
    pairs = pair_names(a, b, options.tables)
    check_table_names(options.vocab_a, [name for name, _ in pairs], "--vocab-a")
    check_table_names(options.vocab_b, [name for _, name in pairs], "--vocab-b")
    if not pairs and not any(table_names(side) or other_entries(side) for side in (a, b)):
        raise _nothing(a, b)
    tables = []
    for pair in pairs:
        sides = read_sides((a, b), pair, options, progress)
        tables.append(diff_tables(*sides, options, conditions, progress))
    only_a, only_b = _unpaired(a, pairs, 0, options), _unpaired(b, pairs, 1, options)
    changes = () if options.tables else snapshot_changes(a, b)
    if options.bit_exact and not options.tables:
        changes += other_bits(a, b)
    a.check_unchanged()
    b.check_unchanged()
    return SnapshotDiff(
        a=_described(a),
        b=_described(b),
        only_a=only_a,
        only_b=only_b,
        changes=changes,
        tables=tuple(tables),
        gates=evaluate(conditions.gates, tables),
        same=not only_a and not only_b and not _content(changes) and all(map(_is_same, tables)),
        findings=(*a.findings, *b.findings),
        seconds=monotonic() - started,
    )


def _described(snapshot: Snapshot) -> DiffedSnapshot:
    return DiffedSnapshot(
        snapshot.uri,
        snapshot.metadata_sha256,
        snapshot.manifest.world_size,
        len(snapshot.index.names),
        snapshot.num_unchecked_rows,
    )


def _unpaired(snapshot: Snapshot, pairs: Sequence[tuple[str, str]], side: int, options: DiffOptions) -> tuple[str, ...]:
    """Tables that have no counterpart; none where tables were chosen."""
    if options.tables:
        return ()
    paired = {pair[side] for pair in pairs}
    return tuple(name for name in table_names(snapshot) if name not in paired)


def _content(changes: Iterable[Change]) -> list[Change]:
    return [change for change in changes if change.what not in LAYOUT]


def _is_same(table: TableDiff) -> bool:
    matching = table.matching
    if table.drift is None or matching.num_born or matching.num_gone or _content(table.changes):
        return False
    if table.bits is not None:
        return not any(bits.num_differing for bits in table.bits)
    return table.drift.num_identical == matching.num_shared


def _nothing(a: Snapshot, b: Snapshot) -> UsageError:
    return UsageError(
        ErrorKind.NOTHING_TO_DO,
        "neither snapshot holds anything to compare",
        where=f"{a.uri} and {b.uri}",
        expected="tables, or other entries",
        hint="`embsnap inspect` shows what is in a snapshot",
    )

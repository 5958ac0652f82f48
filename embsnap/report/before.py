"""The snapshot that another one is compared with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from embsnap.model.dtypes import DTYPES
from embsnap.model.inspection import SnapshotInspection
from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.inspect import InspectOptions, inspect
from embsnap.ops.stats.plan import SnapshotScan, plan_stats
from embsnap.report.options import ReportOptions

__all__ = ["Comparison", "plan_comparison"]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What comparing with the snapshot before takes."""

    uri: str
    options: DiffOptions
    scan: SnapshotScan | None
    """Of the tables that both have; None if there are none, or their statistics are computed anyway."""
    num_bytes: int
    """Of the rows of both that are read to be compared."""


def plan_comparison(
    options: ReportOptions, scan: SnapshotScan, vocabularies: Mapping[str, str], read_anyway: Collection[str]
) -> Comparison | None:
    """Find what two snapshots have in common; None if tables were chosen, and the snapshot before has none of them.

    Args:
        options: `before` is the URI of the snapshot before.
        scan: Of the snapshot that it is compared with.
        vocabularies: Those of the snapshot before that have counts.
        read_anyway: URIs of snapshots whose statistics are computed for a run.

    Raises:
        NotFoundError, SnapshotError, StorageError: The snapshot before is not to be read.
    """
    assert options.before is not None
    found = inspect(options.before, InspectOptions(storage_options=options.storage_options))
    if not isinstance(found, SnapshotInspection):
        found = inspect(f"{options.before}@latest", InspectOptions(storage_options=options.storage_options))
        assert isinstance(found, SnapshotInspection)
    before = {table.path: table for table in found.tables if DTYPES[table.dtype].is_floating}
    shared = [each.table for each in scan.tables if each.table.weight.path in before]
    names = {table.name for table in shared}
    if options.stats.tables and not shared:
        return None
    diff = replace(
        options.diff,
        tables=sorted(names) if options.stats.tables else (),
        vocab_a={name: uri for name, uri in options.diff.vocab_a.items() if name in names},
        vocab_b={name: uri for name, uri in options.stats.vocabularies.items() if name in names},
    )
    counted = {name: uri for name, uri in vocabularies.items() if name in names}
    before_scan = None
    if shared and (counted or found.uri not in read_anyway):
        paths = [table.weight.path for table in shared]
        before_scan = plan_stats(found.uri, replace(options.stats, tables=paths, vocabularies=counted))
    num_bytes = sum(table.weight.num_bytes + before[table.weight.path].num_bytes for table in shared)
    return Comparison(found.uri, diff, before_scan, num_bytes)

"""The arrays of a snapshot: each put together, its cover proven; those that are sound are what later levels read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.arrays import assemble, assemble_entry, is_array, is_sharded
from embsnap.formats.torchsnapshot.metadata_findings import table_findings
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.model.findings import Finding, Severity
from embsnap.model.manifest import ChunkedTensorEntry, Entry, TensorEntry
from embsnap.model.paths import join_entry_path
from embsnap.model.table import StoredArray
from embsnap.ops.verify.checked import Checked, at_most

__all__ = ["SoundArray", "Survey", "survey"]


@dataclass(frozen=True, slots=True)
class SoundArray:
    """An array whose pieces cover it exactly."""

    name: str
    """Its logical path; the full entry path for one rank's own copy."""
    array: StoredArray
    is_table: bool
    """Whether it is a table's weight."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Every array of a snapshot."""

    sound: tuple[SoundArray, ...]
    checked: Checked


def survey(snapshot: Snapshot) -> Survey:
    """Put every array together, each rank's copies too. Arrays that are pickled are left out."""
    found = list(table_findings(snapshot.listing, snapshot.index))
    known = {(finding.kind, finding.place) for finding in found}
    sound: list[SoundArray] = []
    broken: list[Finding] = []
    num_opaque = 0
    for name, path, result in _arrays(snapshot):
        if isinstance(result, StoredArray):
            sound.append(SoundArray(name, result, path in snapshot.index.names))
        elif result.kind is ErrorKind.OPAQUE_ENTRY:
            num_opaque += 1
        elif path not in snapshot.index.names and (result.kind.value, result.where) not in known:
            broken.append(_finding(result, name))
    pickled = f"{num_opaque} arrays are pickled, and never opened" if num_opaque else None
    findings = (*found, *at_most(broken))
    return Survey(tuple(sound), Checked(len(sound) + len(broken), "arrays", findings, pickled))


def _arrays(snapshot: Snapshot) -> Iterator[tuple[str, str, StoredArray | SnapshotError]]:
    """Name, logical path, and the array or why it cannot be read."""
    for path, ranked in snapshot.listing.by_path.items():
        if not any(map(is_array, ranked.values())):
            continue
        if any(map(is_sharded, ranked.values())):
            yield path, path, _attempt_sharded(snapshot, path)
            continue
        yield from _copies(path, ranked)


def _attempt_sharded(snapshot: Snapshot, path: str) -> StoredArray | SnapshotError:
    try:
        return assemble(snapshot.listing, path)
    except SnapshotError as error:
        return error


def _copies(path: str, ranked: Mapping[int, Entry]) -> Iterator[tuple[str, str, StoredArray | SnapshotError]]:
    for rank, entry in sorted(ranked.items()):
        if isinstance(entry, TensorEntry | ChunkedTensorEntry):
            name = join_entry_path(rank, path)
            try:
                yield name, path, assemble_entry(path, entry, rank)
            except SnapshotError as error:
                yield name, path, error


def _finding(error: SnapshotError, name: str) -> Finding:
    message = error.problem + (f" (found {error.found})" if error.found else "")
    return Finding(Severity.ERROR, error.kind.value, error.where or name, message, error.hint or "")

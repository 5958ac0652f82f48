"""What is in a snapshot, from its metadata and its sidecar alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.sidecar import Sidecar
from embsnap.formats.torchsnapshot.collector import collector_paused
from embsnap.formats.torchsnapshot.metadata_findings import tensors_of
from embsnap.formats.torchsnapshot.primitives import parse_primitive
from embsnap.formats.torchsnapshot.run import steps
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.model.inspection import (
    EntryGroup,
    InspectedState,
    InspectedTable,
    Origin,
    RunInspection,
    SnapshotInspection,
    StepInspection,
    StoredValue,
)
from embsnap.model.manifest import Entry, PrimitiveEntry, TensorEntry
from embsnap.model.table import Table

__all__ = ["InspectOptions", "inspect"]

_NO_OPTIONS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class InspectOptions:
    """What to show."""

    names: Sequence[str] = ()
    """Tables to show alone and with their pieces, named as for `Snapshot.table`; none shows all tables."""
    storage_options: Mapping[str, str] = field(default_factory=lambda: _NO_OPTIONS)


def inspect(uri: str, options: InspectOptions | None = None) -> SnapshotInspection | RunInspection:
    """What is under a URI: a snapshot, or the steps of a run.

    Defects of tables are findings of the result, unless a defective table was asked for by name.

    Raises:
        NotFoundError: Nothing is there, no such step, or no such table.
        SnapshotError: No committed, readable snapshot is there, or a table asked for cannot be read as it stands.
        StorageError: The storage failed.
    """
    options = options or InspectOptions()
    with collector_paused():
        return _inspect(uri, options)


def _inspect(uri: str, options: InspectOptions) -> SnapshotInspection | RunInspection:
    try:
        snapshot = open_snapshot(uri, options=options.storage_options)
    except SnapshotError as error:
        run = None
        if error.kind is ErrorKind.NOT_A_SNAPSHOT and not options.names:
            run = _run(uri, options.storage_options)
        if run is None:
            raise
        return run
    return _snapshot(snapshot, options.names)


def _run(uri: str, storage_options: Mapping[str, str]) -> RunInspection | None:
    found = steps(uri, options=storage_options)
    latest = max((step.step for step in found if step.committed), default=None)
    if latest is None:
        return None
    return RunInspection(uri, tuple(StepInspection(step.step, step.committed, step.uri) for step in found), latest)


def _snapshot(snapshot: Snapshot, names: Sequence[str]) -> SnapshotInspection:
    tables = [snapshot.table(name) for name in names] if names else list(_sound_tables(snapshot))
    values = tuple(_values(snapshot))
    numbers = {value.path: value.value for value in values}
    step, walltime = numbers.get("extra_state/step"), numbers.get("extra_state/walltime")
    survey = snapshot.index.survey
    return SnapshotInspection(
        uri=snapshot.uri,
        torchsnapshot_version=snapshot.manifest.version,
        world_size=snapshot.manifest.world_size,
        metadata_sha256=snapshot.metadata_sha256,
        metadata_bytes=snapshot.metadata_bytes,
        step=step if type(step) is int else None,
        walltime=float(walltime) if isinstance(walltime, int | float) else None,
        tables=tuple(_table(table, snapshot.sidecar, with_pieces=bool(names)) for table in tables),
        unreadable_tables=tuple(path for path, table in survey.items() if isinstance(table, SnapshotError)),
        other_entries=_other_entries(snapshot),
        values=values,
        origin=None if snapshot.sidecar is None else _origin(snapshot.sidecar),
        findings=snapshot.findings,
    )


def _sound_tables(snapshot: Snapshot) -> Iterator[Table]:
    return (table for table in snapshot.index.survey.values() if isinstance(table, Table))


def _table(table: Table, sidecar: Sidecar | None, *, with_pieces: bool) -> InspectedTable:
    vocabulary = sidecar.tables.get(table.name) if sidecar is not None else None
    states = [(state, state.array) for state in table.state]
    return InspectedTable(
        name=table.name,
        path=table.weight.path,
        num_embeddings=table.num_embeddings,
        embedding_dim=table.embedding_dim,
        dtype=table.weight.dtype.name,
        num_bytes=table.weight.num_bytes,
        form=table.weight.form,
        sharding=table.sharding,
        num_shards=len(table.weight.pieces),
        ranks=table.ranks,
        state=tuple(
            InspectedState(state.name, array.path, state.layout, array.dtype.name, array.shape, array.num_bytes)
            for state, array in states
        ),
        vocabulary=None if vocabulary is None else vocabulary.uri,
        fingerprint=None if vocabulary is None else vocabulary.fingerprint,
        pieces=table.weight.pieces if with_pieces else (),
    )


def _values(snapshot: Snapshot) -> Iterator[StoredValue]:
    for path, ranked in snapshot.listing.by_path.items():
        entry = ranked[min(ranked)]
        if path.count("/") == 1 and isinstance(entry, PrimitiveEntry):
            try:
                yield StoredValue(path, parse_primitive(entry, where=path))
            except SnapshotError:
                yield StoredValue(path, entry.serialized_value)


def _other_entries(snapshot: Snapshot) -> tuple[EntryGroup, ...]:
    index = snapshot.index
    in_tables = {*index.names, *(path for paths in index.states.values() for path in paths)}
    groups: dict[tuple[str, str], list[int | None]] = {}
    for path, ranked in snapshot.listing.by_path.items():
        if path not in in_tables:
            for entry in ranked.values():
                groups.setdefault((path.partition("/")[0], entry.type), []).append(_num_bytes(entry))
    return tuple(
        EntryGroup(app_key, kind, len(sizes), None if None in sizes else sum(size or 0 for size in sizes))
        for (app_key, kind), sizes in sorted(groups.items())
    )


def _num_bytes(entry: Entry) -> int | None:
    tensors = tensors_of(entry)
    sizes = [_tensor_bytes(tensor) for tensor in tensors]
    return None if not tensors or None in sizes else sum(size or 0 for size in sizes)


def _tensor_bytes(tensor: TensorEntry) -> int | None:
    dtype = DTYPES.get(tensor.dtype.removeprefix("torch."))
    return None if dtype is None else prod(tensor.shape) * dtype.itemsize


def _origin(sidecar: Sidecar) -> Origin:
    lineage = sidecar.lineage
    return Origin(
        tool=sidecar.tool,
        created=sidecar.created,
        command=None if lineage is None else lineage.command,
        parents=() if lineage is None else tuple(parent.uri for parent in lineage.parents),
        counts={} if lineage is None else lineage.counts,
    )

"""What a manifest alone shows to be wrong, or to be left unread. No object is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

from embsnap.errors import SnapshotError
from embsnap.formats.torchsnapshot.arrays import assemble_entry
from embsnap.formats.torchsnapshot.collector import collector_paused
from embsnap.formats.torchsnapshot.dtensors import num_parts
from embsnap.formats.torchsnapshot.listing import Listing
from embsnap.formats.torchsnapshot.tables import TableIndex
from embsnap.model.findings import Finding, Severity
from embsnap.model.manifest import (
    ChunkedTensorEntry,
    DTensorEntry,
    Entry,
    ObjectEntry,
    ShardedTensorEntry,
    TensorEntry,
    UnknownEntry,
)
from embsnap.model.paths import join_entry_path
from embsnap.model.table import Sharding

__all__ = ["entry_findings", "metadata_findings", "table_findings", "tensors_of"]

_MAX_EXAMPLES = 3
_SHARED = "that share bytes"
_SHARDED = (ShardedTensorEntry, DTensorEntry)


def metadata_findings(listing: Listing, index: TableIndex) -> tuple[Finding, ...]:
    """The findings of a manifest, in the order of its tables, then of its entries."""
    with collector_paused():
        findings = [*table_findings(listing, index), *entry_findings(listing)]
        shared = _shared_bytes(listing.manifest.entries.items())
    return (*findings, *_some(shared, Severity.WARNING, "shared-bytes", _SHARED, ""))


def table_findings(listing: Listing, index: TableIndex) -> Iterator[Finding]:
    """What is wrong with tables and their optimizer state, in the manifest's order."""
    for path in index.names:
        yield from _table_findings(listing, index, path)
    yield from _unattached(index)


def entry_findings(listing: Listing) -> Iterator[Finding]:
    """What is wrong with entries by themselves, or makes embsnap leave them unread."""
    entries = listing.manifest.entries
    if listing.silent_rank is not None:
        message = f"rank {listing.silent_rank} of {listing.manifest.world_size} lists nothing"
        yield Finding(Severity.ERROR, "silent-rank", "the manifest", message, "shards may be missing")
    missing = [join_entry_path(rank, path) for path, ranks in listing.missing.items() for rank in ranks]
    yield from _some(missing, Severity.ERROR, "missing-entry", "named by a container and not there", "")
    broken = [path for path, entry in entries.items() if isinstance(entry, UnknownEntry) and entry.problem]
    yield from _some(broken, Severity.ERROR, "bad-entry", "with fields that cannot be right", "they are not read")
    unknown = [path for path, entry in entries.items() if isinstance(entry, UnknownEntry) and not entry.problem]
    yield from _some(unknown, Severity.WARNING, "unknown-entry", "of a type that embsnap does not know", "")
    opaque = [path for path, entry in entries.items() if _is_opaque(entry)]
    yield from _some(opaque, Severity.NOTE, "opaque-entry", "pickled, and never opened", "")
    extended = [path for path, entry in entries.items() if _has_extra(entry)]
    extended += [f"the field {name}" for name in listing.manifest.extra]
    yield from _some(extended, Severity.NOTE, "unknown-fields", "with fields that embsnap does not know", "")


def tensors_of(entry: Entry) -> tuple[TensorEntry, ...]:
    """The tensors with bytes of their own that an entry is made of."""
    if isinstance(entry, _SHARDED):
        return tuple([shard.tensor for shard in entry.shards])
    if isinstance(entry, TensorEntry):
        return (entry,)
    if isinstance(entry, ChunkedTensorEntry):
        return tuple([chunk.tensor for chunk in entry.chunks])
    return ()


def _table_findings(listing: Listing, index: TableIndex, path: str) -> Iterator[Finding]:
    table = index.survey[path]
    if isinstance(table, SnapshotError):
        message = table.problem + (f" (found {table.found})" if table.found else "")
        remedy = "this table cannot be read; take the snapshot again, or use another one"
        yield Finding(Severity.ERROR, table.kind.value, table.where or path, message, remedy)
        return
    ranked = listing.by_path[path]
    if table.sharding is Sharding.DATA_PARALLEL:
        yield from _unequal_copies(path, table.weight.shape, ranked)
        return
    absent = _num_absent(listing, ranked)
    if absent:
        message = f"{absent} ranks do not list a shard; rows at its end may be missing"
        yield Finding(Severity.WARNING, "unlisted-shards", path, message, "compare its number of rows with the model's")


def _num_absent(listing: Listing, ranked: Mapping[int, Entry]) -> int:
    """Ranks of a sharded array's world, or of its mesh, that list nothing for it, though torchrec's ranks all do."""
    entries = list(ranked.values())
    if all(isinstance(entry, ShardedTensorEntry) for entry in entries):
        return listing.manifest.world_size - len(entries)
    meshes = [num_parts(entry) for entry in entries if isinstance(entry, DTensorEntry)]
    return max(0, max(meshes, default=0) - len(entries))


def _unequal_copies(path: str, shape: tuple[int, ...], ranked: dict[int, Entry]) -> Iterator[Finding]:
    for rank, entry in sorted(ranked.items()):
        if not isinstance(entry, TensorEntry | ChunkedTensorEntry):
            continue
        try:
            same = assemble_entry(path, entry, rank).shape == shape
        except SnapshotError as error:
            yield Finding(Severity.ERROR, error.kind.value, join_entry_path(rank, path), error.problem)
            continue
        if not same:
            message = f"the copy of rank {rank} has the shape {list(entry.shape)}, the first one {list(shape)}"
            yield Finding(Severity.ERROR, "unequal-copies", path, message, "name the copy by its full entry path")


def _some(places: list[str], severity: Severity, kind: str, what: str, remedy: str) -> Iterator[Finding]:
    if places:
        examples = tuple(places[:_MAX_EXAMPLES])
        number = "1 entry" if len(places) == 1 else f"{len(places)} entries"
        yield Finding(severity, kind, places[0], f"{number} {what}", remedy, len(places), examples)


def _unattached(index: TableIndex) -> Iterator[Finding]:
    remedy = "they stay out of every table's state"
    what = "of optimizer state that fits no table, or several"
    yield from _some(index.unattached, Severity.WARNING, "unattached-state", what, remedy)


def _is_opaque(entry: Entry) -> bool:
    if isinstance(entry, ObjectEntry):
        return True
    return any(tensor.serializer != "buffer_protocol" for tensor in tensors_of(entry))


def _has_extra(entry: Entry) -> bool:
    if isinstance(entry, UnknownEntry):
        return False
    if isinstance(entry, _SHARDED):
        for shard in entry.shards:
            if shard.extra or shard.tensor.extra:
                return True
        return bool(entry.extra)
    return bool(entry.extra) or any(tensor.extra for tensor in tensors_of(entry))


def _shared_bytes(entries: Iterable[tuple[str, Entry]]) -> list[str]:
    """Paths of entries whose byte range begins before another's in the same object ends."""
    ranges = [
        (tensor.location, *(tensor.byte_range or (0, float("inf"))), path)
        for path, entry in entries
        for tensor in tensors_of(entry)
        if tensor.byte_range is None or tensor.byte_range[0] < tensor.byte_range[1]
    ]
    key: Callable[[tuple[str, float, float, str]], tuple[str, float, float]] = lambda item: item[:3]  # noqa: E731
    ordered = sorted(ranges, key=key)
    return [second[3] for first, second in pairwise(ordered) if first[0] == second[0] and second[1] < first[2]]

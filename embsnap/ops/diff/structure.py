"""What differs between two snapshots without a look at any row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from embsnap.formats.torchsnapshot.arrays import is_array
from embsnap.formats.torchsnapshot.primitives import parse_primitive
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.model.manifest import ContainerEntry, Entry, ObjectEntry, PrimitiveEntry
from embsnap.model.snapshot_diff import Change
from embsnap.model.table import Table

__all__ = ["LAYOUT", "other_entries", "snapshot_changes", "table_changes"]

LAYOUT = frozenset({"world_size", "sharding", "ranks", "pieces"})
"""Changes of where things lie, which change nothing of what they are."""


def table_changes(a: Table, b: Table) -> tuple[Change, ...]:
    """In shape, dtype, sharding and optimizer state, which is compared only where both tables were read with it."""
    found_a, found_b = _traits(a), _traits(b)
    place = f"table {a.name}" if a.name == b.name else f"table {a.name} → {b.name}"
    traits = dict.fromkeys([*found_a, *found_b])
    pairs = ((what, found_a.get(what), found_b.get(what)) for what in traits)
    return tuple(Change(place, what, in_a, in_b) for what, in_a, in_b in pairs if in_a != in_b)


def _traits(table: Table) -> dict[str, str]:
    state = {
        f"state {state.name}": f"{state.layout.value} {state.array.dtype} {list(state.array.shape)}"
        for state in table.state
    }
    return {
        "num_embeddings": str(table.num_embeddings),
        "embedding_dim": str(table.embedding_dim),
        "dtype": table.weight.dtype.name,
        "sharding": table.sharding.value,
        "ranks": str(len(table.ranks)),
        **state,
    }


def snapshot_changes(a: Snapshot, b: Snapshot) -> tuple[Change, ...]:
    """Outside of tables: world size; values that differ; entries that only one side has."""
    return tuple(_snapshot_changes(a, b))


def _snapshot_changes(a: Snapshot, b: Snapshot) -> Iterator[Change]:
    size_a, size_b = a.manifest.world_size, b.manifest.world_size
    if size_a != size_b:
        yield Change("snapshot", "world_size", str(size_a), str(size_b))
    entries_a, entries_b = other_entries(a), other_entries(b)
    for path in dict.fromkeys([*entries_a, *entries_b]):
        in_a, in_b = _described(path, entries_a), _described(path, entries_b)
        if in_a != in_b:
            is_value = isinstance(entries_a.get(path), PrimitiveEntry) and isinstance(
                entries_b.get(path), PrimitiveEntry
            )
            yield Change(path, "value" if is_value else "entry", in_a, in_b)


def other_entries(snapshot: Snapshot) -> dict[str, Entry]:
    """What belongs to no table, by logical path, the lowest rank's: values, arrays, opaque objects; no containers."""
    index, entries = snapshot.index, dict[str, Entry]()
    of_tables = {*index.names, *(path for paths in index.states.values() for path in paths)}
    for path in snapshot.listing.by_path:
        entry = snapshot.listing.entry(path)
        if path not in of_tables and entry is not None and not isinstance(entry, ContainerEntry):
            entries[path] = entry
    return entries


def _described(path: str, entries: Mapping[str, Entry]) -> str | None:
    entry = entries.get(path)
    if isinstance(entry, PrimitiveEntry):
        return f"{entry.type} {parse_primitive(entry, where=path)!r}"
    if entry is None or is_array(entry):
        return None if entry is None else "array"
    return f"object {entry.obj_type}" if isinstance(entry, ObjectEntry) else f"entry of type {entry.type}"

"""Which objects a snapshot consists of, by its own word."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embsnap.errors import NotFoundError
from embsnap.formats.sidecar import sidecar_of
from embsnap.formats.torchsnapshot.destination import run_location, run_of
from embsnap.formats.torchsnapshot.metadata import MAX_METADATA_BYTES, METADATA_LOCATION, parse_metadata
from embsnap.formats.torchsnapshot.metadata_findings import tensors_of
from embsnap.model.manifest import Manifest, ObjectEntry, UnknownEntry
from embsnap.storage.base import Store

__all__ = ["Committed", "NamedObjects", "named_objects", "read_committed"]


@dataclass(frozen=True, slots=True)
class NamedObjects:
    """The objects that a manifest names."""

    needed: Mapping[str, int]
    """Location → bytes that the manifest reads of it at least."""
    perhaps: frozenset[str]
    """What entries that embsnap does not understand name as a location; there may be no such objects."""
    claims: frozenset[str]
    """Where the runs of embsnap that wrote them have their `run.json`."""

    def __contains__(self, location: str) -> bool:
        return location in self.needed or location in self.perhaps or location in self.claims


@dataclass(frozen=True, slots=True)
class Committed:
    """What a root with a committed snapshot must keep."""

    metadata_sha256: str
    sidecar: str
    """Location of its sidecar, whether there is one or not."""
    objects: NamedObjects

    def keeps(self, location: str) -> bool:
        """Whether the object belongs to the snapshot."""
        return location in (METADATA_LOCATION, self.sidecar) or location in self.objects


def named_objects(manifest: Manifest) -> NamedObjects:
    """All objects that the entries of a manifest name."""
    needed: dict[str, int] = {}
    perhaps: set[str] = set()
    for entry in manifest.entries.values():
        for tensor in tensors_of(entry):
            end = tensor.byte_range[1] if tensor.byte_range is not None else 0
            needed[tensor.location] = max(end, needed.get(tensor.location, 0))
        if isinstance(entry, ObjectEntry):
            needed.setdefault(entry.location, 0)
        elif isinstance(entry, UnknownEntry):
            perhaps.update(_locations(entry.fields))
    runs = {run_of(location) for location in needed}
    claims = frozenset(run_location(run_id) for run_id in runs if run_id is not None)
    return NamedObjects(needed, frozenset(perhaps - needed.keys()), claims)


def read_committed(store: Store) -> Committed | None:
    """The snapshot that a root holds, or None if none is committed there.

    Raises:
        SnapshotError: `bad-metadata`: nobody can tell what belongs to it.
        StorageError: The storage failed, or the metadata are larger than any should be.
    """
    try:
        metadata = store.read(METADATA_LOCATION, limit=MAX_METADATA_BYTES)
    except NotFoundError:
        return None
    manifest = parse_metadata(metadata, where=f"{store.uri}/{METADATA_LOCATION}")
    digest = hashlib.sha256(metadata).hexdigest()
    return Committed(digest, sidecar_of(digest), named_objects(manifest))


def _locations(value: Any) -> Iterator[str]:
    """Every string under a key `location`, at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "location" and isinstance(inner, str):
                yield inner
            yield from _locations(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _locations(inner)

"""What lies under one root that no committed snapshot there needs, in the groups that are kept or removed together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embsnap.formats.copy_claim import CLAIM_LOCATION, read_claim
from embsnap.formats.torchsnapshot.destination import is_sidecar, run_location, run_of
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.torchsnapshot.named_objects import Committed, read_committed
from embsnap.model.collection import LeftoverKind
from embsnap.storage.base import ObjectInfo, Store

__all__ = ["Group", "Root", "find_groups", "unclosed"]


@dataclass(frozen=True, slots=True)
class Group:
    """Objects that one run, copy or writer left behind, in the order in which they may be deleted."""

    store: Store
    kind: LeftoverKind
    name: str
    objects: tuple[ObjectInfo, ...]
    """The claim comes last, so that what is left of an interrupted collection can still be told."""

    @property
    def num_bytes(self) -> int:
        """Of all objects."""
        return sum(info.size for info in self.objects)

    def age_s(self, now: float) -> float | None:
        """Since the newest object was written; None if the storage does not tell."""
        times = [info.modified for info in self.objects]
        known = [modified for modified in times if modified is not None]
        return now - max(known) if len(known) == len(times) else None


@dataclass(frozen=True, slots=True)
class Root:
    """A place where a snapshot may stand, with what is left over there."""

    store: Store
    metadata: ObjectInfo | None
    """The commit, as it was before anything was listed."""
    groups: tuple[Group, ...]


def find_groups(store: Store) -> Root:
    """Look a root up.

    Raises:
        SnapshotError: `bad-metadata`: the metadata or the claim of a copy cannot be read, so that nobody can tell what
            is needed.
        StorageError: The storage failed.
    """
    metadata = store.stat(METADATA_LOCATION)
    committed = read_committed(store)
    copied = _of_a_copy(store, committed)
    seen = {info.location for group in copied for info in group.objects}
    groups = (*copied, *_of_runs(store, committed, seen), *_sidecars(store, committed, seen), *_uploads(store))
    return Root(store, metadata, groups)


def unclosed(store: Store) -> tuple[Group, ...]:
    """What writers hold under a root, at any depth, that have not closed or died."""
    return tuple(Group(store, LeftoverKind.WRITER, info.location, (info,)) for info in store.unfinished())


def _uploads(store: Store) -> Iterator[Group]:
    """Uploads to where embsnap alone writes: those of runs, and those that the claim of a copy names."""
    claim = read_claim(store)
    for info in store.uploads():
        if run_of(info.location) is not None or (claim is not None and info.location in claim.objects):
            yield Group(store, LeftoverKind.UPLOAD, info.location, (info,))


def _of_a_copy(store: Store, committed: Committed | None) -> tuple[Group, ...]:
    """What a copy left: its claim, and the objects that it says it wrote and that have the right size."""
    claim, info = read_claim(store), store.stat(CLAIM_LOCATION)
    if claim is None or info is None:
        return ()
    left = [
        found
        for found in store.list()
        if claim.objects.get(found.location) == found.size
        and (committed is None or not committed.keeps(found.location))
    ]
    return (Group(store, LeftoverKind.COPY, claim.digest[:16], (*left, info)),)


def _of_runs(store: Store, committed: Committed | None, seen: set[str]) -> Iterator[Group]:
    """Runs of which the committed snapshot names no object."""
    runs: dict[str, list[ObjectInfo]] = {}
    live: set[str] = set()
    for info in store.list("embsnap/"):
        run_id = run_of(info.location)
        if run_id is None or info.location in seen:
            continue
        runs.setdefault(run_id, []).append(info)
        if committed is not None and committed.keeps(info.location):
            live.add(run_id)
    for run_id, objects in runs.items():
        if run_id not in live:
            claim = run_location(run_id)
            objects.sort(key=lambda info: (info.location.startswith(f"embsnap/{run_id}/run"), info.location == claim))
            yield Group(store, LeftoverKind.RUN, run_id, tuple(objects))


def _sidecars(store: Store, committed: Committed | None, seen: set[str]) -> Iterator[Group]:
    """Sidecars of metadata that never came, or went."""
    for info in store.list(".embsnap/"):
        kept = committed is not None and committed.keeps(info.location)
        if is_sidecar(info.location) and not kept and info.location not in seen:
            yield Group(store, LeftoverKind.SIDECAR, info.location, (info,))

"""Copying a snapshot or a vocabulary from one store to another: in parallel, verified, and resumable.

A snapshot's objects are copied first, its sidecar after them, and its metadata last, which makes the copy visible. A
copy that stops keeps the objects that it has finished, under a claim (`embsnap.formats.copy_claim`); the same copy run
again compares them and copies the rest. Of two that run at the same time one commits.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from embsnap.errors import EmbsnapError, ErrorKind, RefusedError, StorageError
from embsnap.formats.copy_claim import CLAIM_LOCATION, CopyClaim, read_claim
from embsnap.formats.torchsnapshot.destination import taken
from embsnap.formats.torchsnapshot.metadata import MAX_METADATA_BYTES, METADATA_LOCATION
from embsnap.formats.torchsnapshot.named_objects import read_committed
from embsnap.model.copying import CopyResult, CopyTally, CopyWhat
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.copy_blocks import Room
from embsnap.ops.copy_destination import CopyDestination, check_apart, examine, examine_for_file
from embsnap.ops.copy_objects import Carrier, tally
from embsnap.ops.copy_sources import CopySource, SourceObject, find_source
from embsnap.storage.base import Store

__all__ = ["CopyOptions", "CopyPlan", "plan_copy", "write_copy"]

_NO_OPTIONS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How to copy."""

    threads: int = 2
    """Four objects are under way for each, 16 at most."""
    storage_options: Mapping[str, str] = field(default_factory=lambda: _NO_OPTIONS)
    """Of both stores."""
    to_storage_options: Mapping[str, str] | None = None
    """Of the destination's store, where its settings are others."""


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What is to be copied, and what is there already."""

    source: CopySource
    destination_uri: str
    destination: CopyDestination
    room: Room
    planning_seconds: float

    @property
    def objects(self) -> tuple[SourceObject, ...]:
        """All that are copied before the metadata."""
        last = () if self.source.sidecar is None else (self.source.sidecar,)
        return (*self.source.objects, *last)

    def result(self) -> CopyResult:
        """What a dry run shows; objects at the destination count by their size."""
        present = [each for each in self.objects if each.target in self.destination.present]
        missing = [each for each in self.objects if each.target not in self.destination.present]
        return self._result(False, tally(present), self._with_metadata(tally(missing)), self.planning_seconds)

    def done(self, carrier: Carrier, seconds: float) -> CopyResult:
        """What is shown in the end."""
        return self._result(True, tally(carrier.found), self._with_metadata(tally(carrier.copied)), seconds)

    def _result(self, applied: bool, present: CopyTally, copied: CopyTally, seconds: float) -> CopyResult:
        return CopyResult(
            what=self.source.what,
            source=self.source.uri,
            destination=self.destination_uri,
            applied=applied,
            total=self._with_metadata(tally(self.objects)),
            checked=tally([each for each in self.objects if each.crc32c is not None]),
            present=present,
            copied=copied,
            digest=self.source.digest,
            peak_memory_bytes=self.room.num_bytes + self.source.metadata_bytes,
            seconds=seconds,
            findings=(*self.source.findings, *self.destination.findings),
        )

    def _with_metadata(self, objects: CopyTally) -> CopyTally:
        if self.source.what is not CopyWhat.SNAPSHOT:
            return objects
        return CopyTally(objects.num_objects + 1, objects.num_bytes + self.source.metadata_bytes)


def plan_copy(source_uri: str, destination_uri: str, options: CopyOptions | None = None) -> CopyPlan:
    """Look up what is to be copied and what the destination holds. Nothing is written.

    Args:
        source_uri: A snapshot, `RUN@latest` or `RUN@<step>`; a file; a directory or a glob of parquet files.
        destination_uri: A place that is free, or holds an unfinished copy of the same source.
        options: How to copy.

    Raises:
        NotFoundError: There is nothing to copy.
        SnapshotError: A torn or unreadable snapshot, or one with objects that are missing or too short.
        RefusedError: `destination-taken`.
        UsageError: The destination lies within the source.
        StorageError: The storage failed.
    """
    started = time.perf_counter()
    options = options or CopyOptions()
    there = options.storage_options if options.to_storage_options is None else options.to_storage_options
    source = find_source(source_uri, options.storage_options)
    check_apart(source, destination_uri, options.storage_options, there)
    if source.what is CopyWhat.FILE:
        destination = examine_for_file(destination_uri, source.objects[0].location, there)
        source = replace(source, objects=(replace(source.objects[0], name=destination.name),))
    else:
        destination = examine(destination_uri, source, there)
    room = Room.of(list(source.sizes.values()), options.threads, is_near=_is_near(source))
    return CopyPlan(source, destination_uri, destination, room, time.perf_counter() - started)


def write_copy(plan: CopyPlan, *, progress: Progress = SILENT) -> CopyResult:
    """Copy what was planned.

    Args:
        plan: Of `plan_copy`.
        progress: Observer of the bytes.

    Raises:
        SnapshotError: `checksum-mismatch`: an object of the source does not hold what its sidecar says.
        RefusedError: `destination-taken`: somebody else has written there in the meantime.
        StorageError: The storage failed, or the source was replaced (`object-replaced`).
    """
    started = time.perf_counter()
    source, store, present = plan.source, plan.destination.store, plan.destination.present
    carrier = Carrier(source.store, store, plan.room, progress)
    if source.what is not CopyWhat.FILE:
        _claim(store, source)
    try:
        carrier.carry(source.objects, present)
        if source.sidecar is not None:
            carrier.carry([source.sidecar], present)
        if source.what is CopyWhat.SNAPSHOT:
            _commit(store, source)
    except RefusedError:
        _give_way(store, source)
        raise
    if source.what is CopyWhat.FILES:
        store.delete(CLAIM_LOCATION)
    return plan.done(carrier, plan.planning_seconds + time.perf_counter() - started)


def _is_near(source: CopySource) -> bool:
    """Whether its objects are in files or in memory, where reading does not wait for a network."""
    return any(source.store.map(each.location) is not None for each in source.objects[:1])


def _claim(store: Store, source: CopySource) -> None:
    """Claim the destination, or join an earlier attempt or a racing one of the same copy."""
    claim = CopyClaim(source.digest, source.sizes)
    try:
        store.create(CLAIM_LOCATION, claim.to_bytes())
    except RefusedError:
        found = read_claim(store)
        if found is None or found.digest != claim.digest:
            raise taken(store, "is being written by another copy") from None


def _commit(store: Store, source: CopySource) -> None:
    """Write the metadata, if they are still those of the source."""
    metadata = source.store.read(METADATA_LOCATION, limit=MAX_METADATA_BYTES)
    if hashlib.sha256(metadata).hexdigest() != source.digest:
        problem, hint = "was replaced by another snapshot while it was being copied", "copy it again"
        raise StorageError(ErrorKind.OBJECT_REPLACED, problem, where=source.store.uri, hint=hint)
    try:
        store.create(METADATA_LOCATION, metadata)
    except RefusedError as error:
        raise taken(store, "another writer has committed a snapshot there in the meantime") from error
    _delete_claim(store)


def _delete_claim(store: Store) -> None:
    """The copy is committed: a claim that stays behind does no harm."""
    try:
        store.delete(CLAIM_LOCATION)
    except EmbsnapError:
        return


def _give_way(store: Store, source: CopySource) -> None:
    """Another writer has committed there: remove what this copy wrote and the committed snapshot does not name."""
    if source.what is not CopyWhat.SNAPSHOT:
        return
    try:
        committed = read_committed(store)
        if committed is None:
            return
        for location in source.sizes:
            if not committed.keeps(location):
                store.delete(location)
        store.delete(CLAIM_LOCATION)
    except EmbsnapError:
        return

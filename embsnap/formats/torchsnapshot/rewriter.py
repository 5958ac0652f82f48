"""Writing a snapshot that is put together from computed arrays and kept entries, so that it can go on after a kill."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import embsnap
from embsnap.errors import EmbsnapError, NotFoundError, RefusedError, SnapshotError
from embsnap.formats.sidecar import (
    MAX_SIDECAR_BYTES,
    Lineage,
    ObjectSums,
    Sidecar,
    TableVocabulary,
    parse_sidecar,
    sidecar_location,
)
from embsnap.formats.torchsnapshot.assembly import PlacedArray, assemble_objects
from embsnap.formats.torchsnapshot.attempts import Attempt, claim_attempt, take_over
from embsnap.formats.torchsnapshot.contents import check_contents
from embsnap.formats.torchsnapshot.destination import check_destination, object_location, taken
from embsnap.formats.torchsnapshot.encoding import encode_metadata
from embsnap.formats.torchsnapshot.finished import proven, record, record_location
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.torchsnapshot.object_writer import write_objects
from embsnap.formats.torchsnapshot.regrouping import Kept, regroup
from embsnap.model.findings import Finding
from embsnap.model.progress import SILENT, Progress
from embsnap.storage.base import Store

__all__ = ["Contents", "RewrittenSnapshot", "rewrite_snapshot"]

_TOOL = f"embsnap {embsnap.__version__}"


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """All that a new snapshot is to hold."""

    version: str
    """Of torchsnapshot, as the old snapshot has it."""
    world_size: int
    arrays: Sequence[PlacedArray]
    kept: Kept
    kept_store: Store
    """Where the bytes of kept entries lie."""
    vocabularies: Mapping[str, TableVocabulary]
    """By table, for the sidecar."""
    lineage: Lineage


@dataclass(frozen=True, slots=True)
class RewrittenSnapshot:
    """A snapshot that was committed."""

    uri: str
    run_id: str
    metadata_sha256: str
    num_bytes: int
    """Of the objects."""
    num_bytes_resumed: int
    """Of objects that an earlier run had finished."""
    seconds: float
    notes: tuple[Finding, ...]
    """What dead runs left at the destination."""


def rewrite_snapshot(
    store: Store,
    contents: Contents,
    *,
    plan_digest: str,
    resume: bool = False,
    threads: int = 2,
    block_bytes: int = 1 << 20,
    progress: Progress = SILENT,
    before_commit: Callable[[], None] | None = None,
) -> RewrittenSnapshot:
    """Write objects, each followed by its sums, then the sidecar, and last the metadata, which is the commit.

    Args:
        store: Destination: missing, empty, or with nothing but what uncommitted runs of embsnap left.
        contents: What it is to hold.
        plan_digest: Hex digest of all that decides the bytes.
        resume: Take over the latest attempt of this very plan, if there is one: objects that hold their sums are not
            written again. What this run finishes stays there if it fails; without `resume` it is deleted then.
        threads: Half of how many objects are under way at a time.
        block_bytes: How much is read, summed and written at a time.
        progress: Observer of the bytes.
        before_commit: Called when all objects are written.

    Raises:
        UsageError, IncompatibleError: The contents cannot be written (see `check_contents`).
        RefusedError: `destination-taken`, at the start, or at the commit if another writer was faster.
        StorageError: The disk is full, or the storage failed.
        SnapshotError: A source failed.
    """
    started = time.perf_counter()
    if contents.arrays:
        check_contents([placed.array for placed in contents.arrays], {})
    notes = check_destination(store)
    assembly = assemble_objects(contents.arrays, contents.kept, contents.kept_store)
    attempt = take_over(store, plan_digest, _TOOL) if resume else None
    attempt = attempt or claim_attempt(store, plan_digest, _TOOL)
    locations = [object_location(attempt.run_id, index) for index in range(len(assembly.layouts))]
    with _withdrawn_on_failure(attempt, locations, keep=resume) as committing:
        found = regroup(contents.version, contents.world_size, contents.kept, contents.arrays, assembly, locations)
        metadata = encode_metadata(found)
        committing.append(metadata)
        objects = list(zip(locations, assembly.layouts, strict=True))
        sizes = {location: layout.num_bytes for location, layout in objects}
        done = proven(attempt, sizes, threads=threads, progress=progress) if resume else {}
        sums = write_objects(
            store,
            assembly.sources,
            [(location, layout) for location, layout in objects if location not in done],
            threads=threads,
            block_bytes=block_bytes,
            progress=progress,
            finished=partial(record, store),
        )
        if before_commit is not None:
            before_commit()
        _commit(
            attempt, metadata, contents, {location: {**done, **sums}[location] for location in locations}, plan_digest
        )
    for location in locations:
        with contextlib.suppress(EmbsnapError):
            store.delete(record_location(location))
    num_resumed = sum(sizes[location] for location in done)
    seconds = time.perf_counter() - started
    digest = hashlib.sha256(metadata).hexdigest()
    return RewrittenSnapshot(store.uri, attempt.run_id, digest, sum(sizes.values()), num_resumed, seconds, notes)


def _commit(
    attempt: Attempt, metadata: bytes, contents: Contents, sums: Mapping[str, ObjectSums], plan_digest: str
) -> None:
    store = attempt.store
    sidecar = Sidecar(
        metadata_sha256=hashlib.sha256(metadata).hexdigest(),
        tool=_TOOL,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        objects=sums,
        tables=contents.vocabularies,
        lineage=contents.lineage,
    )
    attempt.check_owned()
    _create_sidecar(store, metadata, sidecar)
    try:
        store.create(METADATA_LOCATION, metadata)
    except RefusedError as error:
        raise taken(store, "another writer has committed a snapshot there in the meantime") from error


def _create_sidecar(store: Store, metadata: bytes, sidecar: Sidecar) -> None:
    """Create it, unless an earlier run of the same plan left one there that says the same of the objects."""
    location = sidecar_location(metadata)
    try:
        store.create(location, sidecar.to_bytes())
    except RefusedError:
        try:
            found = parse_sidecar(store.read(location, limit=MAX_SIDECAR_BYTES))
        except (SnapshotError, NotFoundError):
            found = None
        if found is None or (found.metadata_sha256, found.objects) != (sidecar.metadata_sha256, sidecar.objects):
            store.delete(location)
            store.create(location, sidecar.to_bytes())


@contextmanager
def _withdrawn_on_failure(attempt: Attempt, locations: Sequence[str], *, keep: bool) -> Iterator[list[bytes]]:
    """Delete what the attempt wrote if the block fails, unless it is to be kept, is committed, or is not ours any more.

    Yields:
        A list that takes the metadata once they are known.
    """
    known: list[bytes] = []
    try:
        yield known
    except BaseException:
        with contextlib.suppress(EmbsnapError):
            if not keep and attempt.is_owned() and not (known and _is_committed(attempt.store, known[0])):
                attempt.release()
                _withdraw(attempt.store, locations, known)
        raise


def _withdraw(store: Store, locations: Sequence[str], known: Sequence[bytes]) -> None:
    for location in [*map(sidecar_location, known), *locations, *map(record_location, locations)]:
        store.delete(location)


def _is_committed(store: Store, metadata: bytes) -> bool:
    found = store.stat(METADATA_LOCATION)
    return (
        found is not None
        and found.size == len(metadata)
        and store.read(METADATA_LOCATION, limit=found.size) == metadata
    )

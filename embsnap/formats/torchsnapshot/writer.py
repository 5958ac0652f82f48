"""Writing a snapshot: the objects first, the sidecar, and last the metadata, which is the commit.

Nothing reads as a snapshot before the commit. A run that fails or is interrupted deletes what it wrote; one that is
killed leaves a directory under `embsnap/` that the next run passes by.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import embsnap
from embsnap.errors import EmbsnapError, RefusedError
from embsnap.formats.sidecar import Lineage, Sidecar, TableVocabulary, sidecar_location
from embsnap.formats.torchsnapshot.contents import ArrayToWrite, build_manifest, check_contents
from embsnap.formats.torchsnapshot.destination import (
    check_destination,
    claim_run,
    object_location,
    run_location,
    taken,
)
from embsnap.formats.torchsnapshot.encoding import Primitive, encode_metadata
from embsnap.formats.torchsnapshot.layout import ObjectLayout, place
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.torchsnapshot.object_writer import write_objects
from embsnap.model.findings import Finding
from embsnap.model.progress import SILENT, Progress
from embsnap.storage.base import Store

__all__ = ["ArrayToWrite", "WrittenSnapshot", "write_snapshot"]

_TOOL = f"embsnap {embsnap.__version__}"
_NO_VALUES: Mapping[str, Primitive] = {}
_NO_VOCABULARIES: Mapping[str, TableVocabulary] = {}


@dataclass(frozen=True, slots=True)
class WrittenSnapshot:
    """A snapshot that was committed."""

    uri: str
    run_id: str
    """Directory under `embsnap/` that holds its objects."""
    metadata_sha256: str
    num_bytes: int
    """Of the objects."""
    seconds: float
    notes: tuple[Finding, ...]
    """What dead runs left at the destination."""


def write_snapshot(
    store: Store,
    arrays: Sequence[ArrayToWrite],
    *,
    plan_digest: str,
    values: Mapping[str, Primitive] = _NO_VALUES,
    vocabularies: Mapping[str, TableVocabulary] = _NO_VOCABULARIES,
    lineage: Lineage | None = None,
    threads: int = 2,
    block_bytes: int = 1 << 20,
    progress: Progress = SILENT,
) -> WrittenSnapshot:
    """Write arrays and plain values as a snapshot that torchsnapshot 0.1.0 restores.

    Rows are read block by block, so that arrays larger than memory work: it takes `2 * threads * block_bytes` beyond
    what the sources need.

    Args:
        store: Destination: missing, empty, or with nothing but what uncommitted runs of embsnap left.
        arrays: Tables and their optimizer state.
        plan_digest: Hex digest of what is being applied; it begins the names of the objects.
        values: Plain values by logical path: `{"extra_state/step": 7}`.
        vocabularies: By table name, for the sidecar.
        lineage: For the sidecar; without it only the digest is recorded.
        threads: Half of how many objects are under way at a time.
        block_bytes: How much is read, summed and written at a time; what fits a core's cache is fastest.
        progress: Observer of the bytes.

    Raises:
        UsageError, IncompatibleError: The contents cannot be written (see `check_contents`).
        RefusedError: `destination-taken`, at the start, or at the commit if another writer was faster.
        StorageError: The disk is full, or the storage failed.
        SnapshotError: A source failed.
    """
    started = time.perf_counter()
    check_contents(arrays, values)
    notes = check_destination(store)
    run_id = claim_run(store, plan_digest, _TOOL)
    layouts = place([array.rows for array in arrays])
    objects = [(object_location(run_id, index), layout) for index, layout in enumerate(layouts)]
    metadata = encode_metadata(build_manifest(arrays, values, objects))
    try:
        sums = write_objects(store, arrays, objects, threads=threads, block_bytes=block_bytes, progress=progress)
        sidecar = Sidecar(
            metadata_sha256=hashlib.sha256(metadata).hexdigest(),
            tool=_TOOL,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            objects=sums,
            tables=vocabularies,
            lineage=lineage or Lineage((), "", plan_digest),
        )
        _commit(store, metadata, sidecar)
    except BaseException:
        _withdraw(store, run_id, objects, metadata)
        raise
    num_bytes = sum(layout.num_bytes for layout in layouts)
    seconds = time.perf_counter() - started
    return WrittenSnapshot(store.uri, run_id, sidecar.metadata_sha256, num_bytes, seconds, notes)


def _commit(store: Store, metadata: bytes, sidecar: Sidecar) -> None:
    store.create(sidecar_location(metadata), sidecar.to_bytes())
    try:
        store.create(METADATA_LOCATION, metadata)
    except RefusedError as error:
        raise taken(store, "another writer has committed a snapshot there in the meantime") from error


def _withdraw(store: Store, run_id: str, objects: Sequence[tuple[str, ObjectLayout]], metadata: bytes) -> None:
    """Delete what this run wrote, unless its commit went through or nobody can tell.

    An interrupt can arrive when the metadata is already visible, and a remote storage can lose its answer: the
    snapshot stands then, and its objects with it.
    """
    try:
        if _is_committed(store, metadata):
            return
        for location in (sidecar_location(metadata), *(location for location, _ in objects), run_location(run_id)):
            store.delete(location)
    except EmbsnapError:
        return


def _is_committed(store: Store, metadata: bytes) -> bool:
    found = store.stat(METADATA_LOCATION)
    return (
        found is not None
        and found.size == len(metadata)
        and store.read(METADATA_LOCATION, limit=found.size) == metadata
    )

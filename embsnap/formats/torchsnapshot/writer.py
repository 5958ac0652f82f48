"""Writing a snapshot: the objects first, the sidecar, and last the metadata, which is the commit.

Nothing reads as a snapshot before the commit. A run that fails or is interrupted deletes what it wrote; one that is
killed leaves a directory under `embsnap/` that the next run passes by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from embsnap.formats.sidecar import Lineage, TableVocabulary
from embsnap.formats.torchsnapshot.commit import TOOL, commit, withdraw
from embsnap.formats.torchsnapshot.contents import ArrayToWrite, build_manifest, check_contents
from embsnap.formats.torchsnapshot.destination import check_destination, claim_run, object_location
from embsnap.formats.torchsnapshot.encoding import Primitive, encode_metadata
from embsnap.formats.torchsnapshot.layout import place
from embsnap.formats.torchsnapshot.object_writer import write_objects
from embsnap.model.findings import Finding
from embsnap.model.progress import SILENT, Progress
from embsnap.storage.base import Store

__all__ = ["ArrayToWrite", "WrittenSnapshot", "write_snapshot"]

_NO_VALUES: Mapping[str, Primitive] = {}
_NO_VOCABULARIES: Mapping[str, TableVocabulary] = {}


def _nothing() -> None:
    pass


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
    before_commit: Callable[[], None] = _nothing,
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
        before_commit: Called once all objects are there; what it raises ends the run without a snapshot.

    Raises:
        UsageError, IncompatibleError: The contents cannot be written (see `check_contents`).
        RefusedError: `destination-taken`, at the start, or at the commit if another writer was faster.
        StorageError: The disk is full, or the storage failed.
        SnapshotError: A source failed.
    """
    started = time.perf_counter()
    check_contents(arrays, values)
    notes = check_destination(store)
    layouts = place([array.rows for array in arrays])
    run_id = claim_run(store, plan_digest, TOOL)
    objects = [(object_location(run_id, index), layout) for index, layout in enumerate(layouts)]
    metadata = encode_metadata(build_manifest(arrays, values, objects))
    try:
        sums = write_objects(store, arrays, objects, threads=threads, block_bytes=block_bytes, progress=progress)
        before_commit()
        digest = commit(store, metadata, sums, vocabularies, lineage or Lineage((), "", plan_digest))
    except BaseException:
        withdraw(store, run_id, (location for location, _ in objects), metadata)
        raise
    num_bytes = sum(layout.num_bytes for layout in layouts)
    seconds = time.perf_counter() - started
    return WrittenSnapshot(store.uri, run_id, digest, num_bytes, seconds, notes)

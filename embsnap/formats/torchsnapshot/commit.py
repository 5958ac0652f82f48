"""The end of a run of a writer: the sidecar and the metadata, which is the commit; or nothing left of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import embsnap
from embsnap.errors import EmbsnapError, RefusedError
from embsnap.formats.sidecar import Lineage, ObjectSums, Sidecar, TableVocabulary, sidecar_location
from embsnap.formats.torchsnapshot.destination import run_location, taken
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.storage.base import Store

__all__ = ["TOOL", "commit", "withdraw"]

TOOL = f"embsnap {embsnap.__version__}"
"""As claims and sidecars name it."""


def commit(
    store: Store,
    metadata: bytes,
    sums: Mapping[str, ObjectSums],
    vocabularies: Mapping[str, TableVocabulary],
    lineage: Lineage,
) -> str:
    """Write the sidecar, then the metadata; every object has to be there.

    Returns:
        Digest of the metadata, 64 hex digits.

    Raises:
        RefusedError: `destination-taken`: another writer was faster.
        StorageError: The storage failed.
    """
    sidecar = Sidecar(
        metadata_sha256=hashlib.sha256(metadata).hexdigest(),
        tool=TOOL,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        objects=sums,
        tables=vocabularies,
        lineage=lineage,
    )
    store.create(sidecar_location(metadata), sidecar.to_bytes())
    try:
        store.create(METADATA_LOCATION, metadata)
    except RefusedError as error:
        raise taken(store, "another writer has committed a snapshot there in the meantime") from error
    return sidecar.metadata_sha256


def withdraw(store: Store, run_id: str, locations: Iterable[str], metadata: bytes | None) -> None:
    """Delete what a run wrote, unless its commit went through or nobody can tell.

    An interrupt can arrive when the metadata is already visible, and a remote storage can lose its answer: the
    snapshot stands then, and its objects with it.

    Args:
        store: Destination.
        run_id: Of the run.
        locations: Its objects, whether they were written or not.
        metadata: What it was to commit; None if it did not come so far.
    """
    sidecar = () if metadata is None else (sidecar_location(metadata),)
    try:
        if metadata is not None and _is_committed(store, metadata):
            return
        for location in (*sidecar, *locations, run_location(run_id)):
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

"""Adding a sidecar with checksums to a snapshot that embsnap did not write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import embsnap
from embsnap.errors import ErrorKind, RefusedError
from embsnap.formats.sidecar import ObjectSums, Sidecar, sidecar_of
from embsnap.formats.torchsnapshot.snapshot import Snapshot

__all__ = ["add_sidecar", "check_no_sidecar"]


def check_no_sidecar(snapshot: Snapshot) -> None:
    """Refuse a snapshot that has a sidecar already, or something else in its place.

    Raises:
        RefusedError: `destination-taken`.
    """
    location = sidecar_of(snapshot.metadata_sha256)
    if snapshot.store.stat(location) is None:
        return
    broken = snapshot.sidecar is None
    raise RefusedError(
        ErrorKind.DESTINATION_TAKEN,
        "is there already",
        where=f"{snapshot.uri}/{location}",
        expected="no sidecar",
        found="one that cannot be used" if broken else "the snapshot's sidecar",
        hint="delete it to write a new one" if broken else "leave --write-checksums out: it holds checksums",
    )


def add_sidecar(snapshot: Snapshot, sums: Mapping[str, ObjectSums]) -> str:
    """Record the sums of all objects beside the metadata, which stay as they are; returns the sidecar's URI.

    Raises:
        RefusedError: Somebody was faster.
        StorageError: The storage failed, or may not be written.
    """
    sidecar = Sidecar(
        metadata_sha256=snapshot.metadata_sha256,
        tool=f"embsnap {embsnap.__version__}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        objects=sums,
    )
    location = sidecar_of(snapshot.metadata_sha256)
    snapshot.store.create(location, sidecar.to_bytes())
    return f"{snapshot.uri}/{location}"

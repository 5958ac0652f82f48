"""The sums of some objects of a store."""

from __future__ import annotations

from collections.abc import Sequence

from embsnap.formats.sidecar import ObjectSums
from embsnap.model.progress import SILENT
from embsnap.ops.verify.checksums import Summing
from embsnap.ops.verify.scan import CHUNK_BYTES, ObjectToScan, scan
from embsnap.storage.base import Store

__all__ = ["object_sums"]


def object_sums(store: Store, locations: Sequence[str], *, threads: int) -> dict[str, ObjectSums]:
    """Read these objects and sum them; those that are not there are left out.

    Raises:
        StorageError: The storage failed.
    """
    infos = [info for location in locations if (info := store.stat(location)) is not None]
    objects = [
        ObjectToScan(info.location, info.size, CHUNK_BYTES, range(-(-info.size // CHUNK_BYTES))) for info in infos
    ]
    summing = Summing(objects)
    scan(store, objects, summing.look, threads=threads, progress=SILENT)
    return summing.sums

"""Objects that an earlier run of the same plan has finished: their sums beside them, and proof that they hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

from embsnap.errors import EmbsnapError, NotFoundError
from embsnap.formats.checksums import RunningSums
from embsnap.formats.sidecar import ObjectSums
from embsnap.formats.sidecar_fields import Fields
from embsnap.formats.torchsnapshot.attempts import Attempt
from embsnap.kernels.threads import run
from embsnap.model.progress import Progress
from embsnap.storage.base import RangeRead, Store

__all__ = ["discard", "proven", "record", "record_location"]

_MAX_RECORD_BYTES = 1 << 24
_READ_BYTES = 4 << 20
_TASK = "verifying what was finished"


def record_location(location: str) -> str:
    """Where the sums of an object lie until the commit."""
    return f"{location}.json"


def record(store: Store, location: str, sums: ObjectSums) -> None:
    """Write the sums of an object that is durable."""
    fields = asdict(sums)
    fields.pop("extra")
    store.create(record_location(location), json.dumps(fields).encode() + b"\n")


def proven(attempt: Attempt, sizes: Mapping[str, int], *, threads: int, progress: Progress) -> dict[str, ObjectSums]:
    """The objects of an attempt that are whole, each read and held against its sums; all other leftovers are deleted.

    Args:
        attempt: Which we own.
        sizes: Location → bytes of every object that the plan writes.
        threads: How many objects are read at a time.
        progress: Told of what is read.

    Returns:
        Sums by location.

    Raises:
        StorageError: The storage failed.
    """
    store = attempt.store
    for found in store.unfinished():
        if found.location.startswith(attempt.prefix):
            store.delete(found.location)
    there = {found.location: found.size for found in store.list(attempt.prefix)}
    whole = {location: size for location, size in sizes.items() if there.get(location) == size}
    progress.start(_TASK, sum(whole.values()))
    tasks = [partial(_proven, store, location, progress) for location in whole]
    found_sums = dict(zip(whole, run(tasks, threads), strict=True))
    progress.finish(_TASK)
    good = {location: sums for location, sums in found_sums.items() if sums is not None}
    wanted = {*good, *map(record_location, good)}
    discard(
        store,
        [place for place in there if place not in wanted and not place.endswith("run.json") and "/run-" not in place],
    )
    return good


def discard(store: Store, locations: Sequence[str]) -> None:
    """Delete objects."""
    for location in locations:
        store.delete(location)


def _proven(store: Store, location: str, progress: Progress) -> ObjectSums | None:
    """The sums of an object as they were recorded, if what is there has them."""
    try:
        data = store.read(record_location(location), limit=_MAX_RECORD_BYTES)
        fields = Fields(json.loads(data), location)
        size, block_bytes = fields.integer("size"), fields.integer("block_bytes", minimum=1)
        recorded = ObjectSums(size, fields.hex("crc32c", 8), block_bytes, fields.hexes("blocks", 8))
    except (NotFoundError, ValueError):
        return None
    except EmbsnapError as error:
        if error.exit_code != 4:
            raise
        return None
    return recorded if _sums(store, location, recorded, progress) == recorded else None


def _sums(store: Store, location: str, recorded: ObjectSums, progress: Progress) -> ObjectSums:
    sums, buffer = RunningSums(recorded.block_bytes), bytearray(_READ_BYTES)
    for start in range(0, recorded.size, _READ_BYTES):
        part = memoryview(buffer)[: min(_READ_BYTES, recorded.size - start)]
        store.read_ranges(location, [RangeRead(start, part)])
        sums.update(part)
        progress.advance(_TASK, len(part))
    return sums.finish()

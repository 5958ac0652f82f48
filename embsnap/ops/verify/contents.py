"""The levels that read objects, in one pass: `checksums` and `values`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from embsnap.formats.sidecar import ObjectSums
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.model.progress import Progress
from embsnap.ops.verify.checked import Checked, Skipped
from embsnap.ops.verify.checksums import Summing, check_sums, chunk_bytes_of, has_sums
from embsnap.ops.verify.geometry import SoundArray
from embsnap.ops.verify.objects import Objects
from embsnap.ops.verify.scan import Chunk, ObjectToScan, scan
from embsnap.ops.verify.values import Looking
from embsnap.storage.base import ObjectInfo

__all__ = ["ReadContents", "Wanted", "read_contents"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the pass is for."""

    all_sums: bool
    """Sum every object, whether there is anything to compare with or not."""
    values: bool
    """Look at values too."""
    sample: float
    """Share of the blocks whose values are looked at, in (0, 1]."""


@dataclass(frozen=True, slots=True)
class ReadContents:
    """What the pass came to."""

    checksums: Checked | Skipped
    values: Checked | Skipped
    sums: Mapping[str, ObjectSums]
    """Of every object that was read whole."""
    num_bytes: int
    """Read of objects."""


def read_contents(
    snapshot: Snapshot,
    sound: Sequence[SoundArray],
    objects: Objects,
    wanted: Wanted,
    *,
    threads: int,
    progress: Progress,
) -> ReadContents:
    """Read the objects once, each only as far as any level needs it."""
    recorded = snapshot.sidecar.objects if snapshot.sidecar is not None else {}
    looking = Looking([each for each in sound if _is_there(each, objects)] if wanted.values else [])
    scans = [each for info in objects.present.values() if (each := _to_scan(info, recorded, wanted, looking)).chunks]
    sampled = {each.location: frozenset(looking.chunks(each, wanted.sample)) for each in scans}
    summing = Summing([each for each in scans if _is_summed(objects.present[each.location], recorded, wanted)])

    def look(chunk: Chunk) -> None:
        summing.look(chunk)
        if chunk.number in sampled[chunk.object.location]:
            looking.look(chunk)

    num_bytes = scan(snapshot.store, scans, look, threads=threads, progress=progress)
    checksums = check_sums(snapshot.uri, objects, recorded, summing.sums)
    return ReadContents(checksums, looking.result(sample=wanted.sample), summing.sums, num_bytes)


def _is_there(each: SoundArray, objects: Objects) -> bool:
    """Whether all bytes of an array are there; what is not is a finding of the level before."""
    for piece in each.array.pieces:
        info = objects.present.get(piece.location)
        if info is None or info.size < piece.start + prod(piece.sizes) * each.array.dtype.itemsize:
            return False
    return True


def _is_summed(info: ObjectInfo, recorded: Mapping[str, ObjectSums], wanted: Wanted) -> bool:
    return wanted.all_sums or has_sums(info, recorded)


def _to_scan(info: ObjectInfo, recorded: Mapping[str, ObjectSums], wanted: Wanted, looking: Looking) -> ObjectToScan:
    """All of an object that is summed, of others what holds values."""
    chunk_bytes = chunk_bytes_of(info, recorded)
    whole = ObjectToScan(info.location, info.size, chunk_bytes, range(-(-info.size // chunk_bytes)))
    if _is_summed(info, recorded, wanted):
        return whole
    return replace(whole, chunks=looking.chunks(whole, wanted.sample))

"""The sums of objects: computed while they are read, compared with what the sidecar or the storage recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from awscrt.checksums import combine_crc32c, crc32c

from embsnap.errors import ErrorKind
from embsnap.formats.block_checks import has_usable_blocks
from embsnap.formats.sidecar import ObjectSums
from embsnap.model.findings import Finding, Severity
from embsnap.ops.verify.checked import Checked, Skipped, at_most
from embsnap.ops.verify.objects import Objects
from embsnap.ops.verify.scan import CHUNK_BYTES, Chunk, ObjectToScan
from embsnap.storage.base import ObjectInfo

__all__ = ["Summing", "check_sums", "chunk_bytes_of", "has_sums"]

_NO_SUMS = "neither a sidecar nor the storage has sums to compare with; --write-checksums adds a sidecar"
_Recorded = Mapping[str, ObjectSums]


def chunk_bytes_of(info: ObjectInfo, recorded: _Recorded) -> int:
    """The size of the chunks in which an object is read, so that its recorded blocks are whole chunks."""
    sums = recorded.get(info.location)
    fits = sums is not None and sums.size == info.size and has_usable_blocks(sums)
    return sums.block_bytes if sums is not None and fits else CHUNK_BYTES


def has_sums(info: ObjectInfo, recorded: _Recorded) -> bool:
    """Whether there is anything to compare the bytes of an object with."""
    sums = recorded.get(info.location)
    return info.crc32c is not None if sums is None else sums.size == info.size


class Summing:
    """Keeps the CRC-32C of every chunk it is shown, from any thread."""

    def __init__(self, objects: Sequence[ObjectToScan]) -> None:
        """Expect all chunks of these objects."""
        self._chunk_bytes = {each.location: each.chunk_bytes for each in objects}
        self._sizes = {each.location: each.size for each in objects}
        self._chunks: dict[str, list[int]] = {each.location: [0] * len(each.chunks) for each in objects}

    def look(self, chunk: Chunk) -> None:
        """Sum one chunk."""
        chunks = self._chunks.get(chunk.object.location)
        if chunks is not None:
            chunks[chunk.number] = crc32c(chunk.data)

    @property
    def sums(self) -> dict[str, ObjectSums]:
        """Of every object, once all its chunks were seen."""
        return {location: self._sums(location) for location in self._chunks}

    def _sums(self, location: str) -> ObjectSums:
        size, chunk_bytes, whole = self._sizes[location], self._chunk_bytes[location], 0
        for number, chunk in enumerate(self._chunks[location]):
            whole = combine_crc32c(whole, chunk, min(chunk_bytes, size - number * chunk_bytes))
        return ObjectSums(size, f"{whole:08x}", chunk_bytes, tuple(f"{chunk:08x}" for chunk in self._chunks[location]))


def check_sums(uri: str, objects: Objects, recorded: _Recorded, computed: _Recorded) -> Checked | Skipped:
    """Compare the sums of all objects.

    Args:
        uri: Of the snapshot.
        objects: Those that are there.
        recorded: The sidecar's sums.
        computed: Those of the objects that were read.
    """
    if not recorded and all(info.crc32c is None for info in objects.present.values()):
        return Skipped(_NO_SUMS)
    findings = at_most(_differences(uri, objects, recorded, computed))
    return Checked(len(computed), "objects", (*findings, *_unsummed(uri, objects, recorded)))


def _differences(uri: str, objects: Objects, recorded: _Recorded, computed: _Recorded) -> Iterator[Finding]:
    for location, info in objects.present.items():
        sums, found = recorded.get(location), computed.get(location)
        holds = f"it holds {', '.join(map(repr, objects.names[location][:3]))}"
        if sums is not None and sums.size != info.size:
            problem = f"the object has {info.size} bytes, and had {sums.size} when its sums were taken"
            yield _mismatch(f"{uri}/{location}", f"{problem}; {holds}")
        elif found is not None and (difference := _difference(sums, info.crc32c, found)):
            yield _mismatch(f"{uri}/{location}", f"{difference}; {holds}")


def _difference(sums: ObjectSums | None, server_sum: int | None, found: ObjectSums) -> str | None:
    if sums is None:
        same = server_sum is None or f"{server_sum:08x}" == found.crc32c
        return None if same else f"its crc32c is {found.crc32c}, and the storage recorded {server_sum:08x}"
    if has_usable_blocks(sums):
        wrong = [number for number, (a, b) in enumerate(zip(sums.blocks, found.blocks, strict=True)) if a != b]
        if wrong:
            start, end = wrong[0] * sums.block_bytes, min(sums.size, (wrong[0] + 1) * sums.block_bytes)
            return f"{len(wrong)} of {len(sums.blocks)} blocks changed; the first has the bytes [{start}, {end})"
    same = sums.crc32c == found.crc32c
    return None if same else f"its crc32c is {found.crc32c}, and the sidecar recorded {sums.crc32c}"


def _mismatch(place: str, message: str) -> Finding:
    remedy = "the bytes are not those that were written: fetch the object again, or use another snapshot"
    return Finding(Severity.ERROR, ErrorKind.CHECKSUM_MISMATCH.value, place, message, remedy)


def _unsummed(uri: str, objects: Objects, recorded: _Recorded) -> Iterator[Finding]:
    """Objects that have no sum while others have."""
    unsummed = [name for name, info in objects.present.items() if name not in recorded and info.crc32c is None]
    if unsummed:
        message = f"{len(unsummed)} of {len(objects.present)} objects have no recorded sum, and were not compared"
        remedy = "nobody can tell whether they are as they were written"
        examples = tuple(unsummed[:3])
        yield Finding(Severity.WARNING, "no-checksum", uri, message, remedy, len(unsummed), examples)

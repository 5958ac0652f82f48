"""Carrying objects from one store to another: several at a time, and each one checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from embsnap.errors import ErrorKind, RefusedError, SnapshotError, StorageError
from embsnap.formats.checksums import BLOCK_BYTES, RunningSums
from embsnap.formats.sidecar import ObjectSums
from embsnap.model.copying import CopyTally
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.copy_blocks import BlockReader, Room, StoppedError
from embsnap.ops.copy_sources import SourceObject
from embsnap.storage.base import ObjectInfo, Store

__all__ = ["Carrier", "tally"]

_TASK = "copying"


def tally(objects: Sequence[SourceObject]) -> CopyTally:
    """How many there are, and their bytes."""
    return CopyTally(len(objects), sum(each.info.size for each in objects))


@dataclass(slots=True)
class Carrier:
    """Copies objects, or proves that they are there already."""

    source: Store
    destination: Store
    room: Room
    progress: Progress
    copied: list[SourceObject] = field(default_factory=list)
    found: list[SourceObject] = field(default_factory=list)
    """Those that were there, with the right bytes."""

    def carry(self, objects: Sequence[SourceObject], present: Mapping[str, ObjectInfo]) -> None:
        """Copy all of them but those that are present.

        Args:
            objects: In any order; the largest are begun first.
            present: What the destination holds, by location there.

        Raises:
            BaseException: The first error of any object, or what interrupted the calling thread; either way no thread
                writes any more when it is raised. What was finished by then stays.
        """
        self.progress.start(_TASK, sum(each.info.size for each in objects))
        failures: list[BaseException] = []
        ordered = sorted(objects, key=lambda each: each.info.size, reverse=True)
        with (
            BlockReader(self.room) as reader,
            ThreadPoolExecutor(self.room.num_objects, thread_name_prefix="embsnap-copy") as pool,
        ):
            try:
                wait([pool.submit(self._run, reader, each, present.get(each.target), failures) for each in ordered])
            except BaseException:
                reader.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if failures:
            raise failures[0]
        self.progress.finish(_TASK)

    def _run(
        self, reader: BlockReader, each: SourceObject, there: ObjectInfo | None, failures: list[BaseException]
    ) -> None:
        """Copy one object; the first failure stops all."""
        try:
            reader.check_stopped()
            if there is None and self._copy(reader, each):
                self.copied.append(each)
            else:
                self._compare(reader, each, there)
                self.found.append(each)
                self.progress.advance(_TASK, 0 if there is None else each.info.size)
        except StoppedError:
            pass
        except BaseException as error:
            failures.append(error)
            reader.stop()

    def _copy(self, reader: BlockReader, each: SourceObject) -> bool:
        """Copy an object whose place is free, again if it changes on the way; False if another copy was faster."""
        try:
            return self._copy_once(reader, each, self.progress)
        except StorageError as error:
            if error.kind is not ErrorKind.CORRUPT_TRANSFER:
                raise
        return self._copy_once(reader, each, SILENT)

    def _copy_once(self, reader: BlockReader, each: SourceObject, progress: Progress) -> bool:
        sums = RunningSums(BLOCK_BYTES if each.sums is None else each.sums.block_bytes)
        try:
            with self.destination.writer(each.target) as writer:

                def consume(block: memoryview) -> None:
                    sums.update(block)
                    writer.write(block)
                    progress.advance(_TASK, len(block))

                reader.feed(self.source, each.location, each.info.size, consume)
                self._check(each, sums.finish())
        except RefusedError:
            if self.destination.stat(each.target) is None:
                raise
            return False
        return True

    def _check(self, each: SourceObject, found: ObjectSums) -> None:
        """Compare what was read of an object with what is known of it."""
        if each.info.crc32c is not None and int(found.crc32c, 16) != each.info.crc32c:
            raise _garbled(self.source, each, found)
        if each.sums is not None and found.crc32c != each.sums.crc32c:
            raise _corrupt(self.source, each, each.sums, found)
        if each.crc32c is None and self.source.stat(each.location) != each.info:
            raise _replaced(self.source, each)

    def _compare(self, reader: BlockReader, each: SourceObject, there: ObjectInfo | None) -> None:
        """Prove that the destination's object has the bytes of the source's."""
        there = there or self.destination.stat(each.target)
        right = there is not None and there.size == each.info.size
        if there is not None and right:
            expected = each.crc32c if each.crc32c is not None else self._sum(reader, self.source, each.info)
            found = there.crc32c if there.crc32c is not None else self._sum(reader, self.destination, there)
            right = found == expected
        if not right:
            raise _other(self.destination, each)

    def _sum(self, reader: BlockReader, store: Store, info: ObjectInfo) -> int:
        sums = RunningSums()
        reader.feed(store, info.location, info.size, sums.update)
        return int(sums.finish().crc32c, 16)


def _corrupt(store: Store, each: SourceObject, expected: ObjectSums, found: ObjectSums) -> SnapshotError:
    blocks = zip(expected.blocks, found.blocks, strict=True)
    block = next((index for index, (known, seen) in enumerate(blocks) if known != seen), 0)
    start = block * expected.block_bytes
    end = min(start + expected.block_bytes, expected.size)
    return SnapshotError(
        ErrorKind.CHECKSUM_MISMATCH,
        f"does not hold the bytes that were written: the first that differ are within [{start}, {end})",
        where=f"{store.uri}/{each.location}",
        expected=f"CRC-32C {expected.blocks[block] if expected.blocks else expected.crc32c}, as the sidecar says",
        found=found.blocks[block] if found.blocks else found.crc32c,
        hint="the snapshot is damaged: copy another one",
    )


def _garbled(store: Store, each: SourceObject, found: ObjectSums) -> StorageError:
    return StorageError(
        ErrorKind.CORRUPT_TRANSFER,
        "came over with other bytes than the server has",
        where=f"{store.uri}/{each.location}",
        expected=f"CRC-32C {each.info.crc32c:08x}",
        found=found.crc32c,
        hint="copy it again; what is there already is kept",
    )


def _replaced(store: Store, each: SourceObject) -> StorageError:
    return StorageError(
        ErrorKind.OBJECT_REPLACED,
        "was replaced while it was being copied",
        where=f"{store.uri}/{each.location}",
        hint="copy it again once nobody writes there",
    )


def _other(store: Store, each: SourceObject) -> RefusedError:
    return RefusedError(
        ErrorKind.DESTINATION_TAKEN,
        "is there already, with other bytes",
        where=f"{store.uri}/{each.target}",
        expected=f"{each.info.size} bytes that are equal to those of {each.location}",
        hint="copy to another destination, or delete it; embsnap overwrites nothing",
    )

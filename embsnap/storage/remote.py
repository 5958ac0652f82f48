"""What all remote stores share: ranges in flight, repetition, lengths, checksums, and that an object stays the same."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

from awscrt.checksums import crc32c

from embsnap.errors import ErrorKind
from embsnap.storage.base import ObjectInfo, RangeRead, Store, check_location
from embsnap.storage.event_loop import run
from embsnap.storage.range_file import RangeFile
from embsnap.storage.ranges import PART_BYTES, Part, PartFiller, plan_parts
from embsnap.storage.remote_errors import corrupt_transfer, no_such_object, object_replaced, short_read, too_large
from embsnap.storage.retries import TransientError, persist

__all__ = ["Begin", "EndsEarlyError", "RemoteStore"]

Result = TypeVar("Result")

_IN_FLIGHT_BYTES = 8 * PART_BYTES
_MOST_IN_FLIGHT = 32


Begin = Callable[[ObjectInfo], PartFiller]
"""Called once an answer begins: takes note of the object that it is of, and says what its bytes are to fill."""


class EndsEarlyError(Exception):
    """The object has fewer bytes than asked for."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class RemoteStore(Store):
    """A store that is reached by requests, each of which may fail and be repeated.

    The generation of each object is noted when it is read first; another one later is an error, unless this store
    itself wrote or deleted the object in between.
    """

    def __init__(self, uri: str, timeout_s: float) -> None:
        """Address the objects under `uri`.

        Args:
            uri: Root.
            timeout_s: For one request with all its repetitions.
        """
        self.uri = uri.rstrip("/")
        self.timeout_s = timeout_s
        self._seen: dict[str, ObjectInfo] = {}

    @abstractmethod
    async def receive(self, location: str, start: int, end: int | None, begin: Begin, silence_s: float) -> None:
        """Ask once for the bytes `[start, end)` of an object, or all; what arrives may be less.

        Raises:
            NotFoundError: There is none.
            EndsEarlyError: The object ends before `start`.
            TransientError: Another attempt may succeed.
        """

    @abstractmethod
    async def look(self, location: str, silence_s: float) -> ObjectInfo | None:
        """Ask once what an object is."""

    def stat(self, location: str) -> ObjectInfo | None:
        """Size, generation and checksum of an object, or None."""
        where = self.where(location)
        return self.wait(persist(partial(self.look, location), timeout_s=self.timeout_s, where=where))

    def hold(self, info: ObjectInfo) -> None:
        """Of another generation nothing is read."""
        self.note(info.location, info)

    def read(self, location: str, *, limit: int) -> bytes:
        """A small object whole, compared with the checksum that the server has of it."""
        where = self.where(location)
        attempt = partial(self._read_once, location, limit)
        return self.wait(persist(attempt, timeout_s=self.timeout_s, where=where))

    def read_ranges(self, location: str, requests: Sequence[RangeRead]) -> None:
        """Fill every buffer: near ranges in one request, long ones in parts, several at a time.

        Where the ranges are the whole object, one after the other, they are compared with the server's checksum.
        """
        where = self.where(location)
        parts = plan_parts(requests)
        if not parts:
            if self.stat(location) is None:
                raise no_such_object(where)
            return
        try:
            self.wait(self._fetch(location, parts))
            if _is_damaged(requests, self._seen.get(location)):
                self.wait(self._fetch(location, parts))
        except EndsEarlyError as error:
            raise short_read(where, requests, error.size) from None
        if _is_damaged(requests, self._seen.get(location)):
            raise corrupt_transfer(where)

    def map(self, location: str) -> None:
        """Nothing is mapped."""
        check_location(location, where=self.uri)

    def open(self, location: str) -> BinaryIO:
        """A file that reads ranges when they are asked for."""
        info = self.stat(location)
        if info is None:
            raise no_such_object(self.where(location))
        self.note(location, info)
        return cast(BinaryIO, RangeFile(info.size, partial(self._read_range, location)))

    def where(self, location: str) -> str:
        """URI of an object, after proof that it lies under the root."""
        return f"{self.uri}/{check_location(location, where=self.uri)}"

    def forget(self, location: str) -> None:
        """This store is about to change the object; what is there later may differ."""
        self._seen.pop(location, None)

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine."""
        return run(coroutine)

    def _read_range(self, location: str, start: int, buffer: memoryview) -> None:
        self.read_ranges(location, [RangeRead(start, buffer)])

    async def _read_once(self, location: str, limit: int, silence_s: float) -> bytes:
        arrived: list[tuple[ObjectInfo, bytearray, PartFiller]] = []

        def begin(info: ObjectInfo) -> PartFiller:
            self.note(location, info)
            if info.size > limit:
                raise too_large(self.where(location), info.size, limit)
            data = bytearray(info.size)
            filler = PartFiller(Part(0, info.size, (RangeRead(0, memoryview(data)),)))
            arrived.append((info, data, filler))
            return filler

        await self.receive(location, 0, None, begin, silence_s)
        info, data, filler = arrived[0]
        _check_whole(data, filler.position, info)
        return bytes(data)

    async def _fetch(self, location: str, parts: Sequence[Part]) -> None:
        """Fetch all parts, several at a time; one that is ready starts the next."""
        waiting: Iterator[Part] = iter(parts)
        longest = max(part.end - part.start for part in parts)
        num_workers = min(len(parts), _MOST_IN_FLIGHT, max(1, _IN_FLIGHT_BYTES // longest))

        async def work() -> None:
            for part in waiting:
                await self._fetch_part(location, PartFiller(part))

        workers = [asyncio.ensure_future(work()) for _ in range(num_workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _fetch_part(self, location: str, filler: PartFiller) -> None:
        attempt = partial(self._fetch_rest, location, filler)
        await persist(attempt, timeout_s=self.timeout_s, where=self.where(location))

    async def _fetch_rest(self, location: str, filler: PartFiller, silence_s: float) -> None:
        """Ask for what is missing of a part, once."""
        end = filler.part.end

        def begin(info: ObjectInfo) -> PartFiller:
            self.note(location, info)
            if info.size < end:
                raise EndsEarlyError(info.size)
            return filler

        await self.receive(location, filler.position, end, begin, silence_s)
        if filler.position < end:
            raise TransientError(f"the answer ended {end - filler.position} bytes early")

    def note(self, location: str, info: ObjectInfo) -> None:
        """Remember what is being read, or notice that it is something else by now."""
        first = self._seen.setdefault(location, info)
        if first.generation != info.generation:
            raise object_replaced(self.where(location), first.generation, info.generation)


def _is_damaged(requests: Sequence[RangeRead], info: ObjectInfo | None) -> bool:
    """Whether the requests are all of an object, in order, and their bytes are not those that the server has."""
    if info is None or info.crc32c is None:
        return False
    position = crc = 0
    for request in requests:
        if request.start != position:
            return False
        position += len(request.buffer)
    if position != info.size:
        return False
    for request in requests:
        crc = crc32c(request.buffer, crc)
    return crc != info.crc32c


def _check_whole(data: bytearray, num_arrived: int, info: ObjectInfo) -> None:
    if num_arrived != info.size:
        raise TransientError(f"{num_arrived} of {info.size} bytes arrived")
    if info.crc32c is not None and crc32c(data) != info.crc32c:
        problem = f"the bytes that arrived have the CRC-32C {crc32c(data):08x}, and the server's is {info.crc32c:08x}"
        raise TransientError(problem, kind=ErrorKind.CORRUPT_TRANSFER)

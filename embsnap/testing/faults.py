"""A store that fails, or does something else, at a chosen moment."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import BinaryIO, Literal, TypeAlias, TypeVar, cast

from embsnap.errors import ErrorKind, StorageError
from embsnap.storage.base import Buffer, ObjectInfo, RangeRead, Store, Writer, check_location
from embsnap.storage.local_errors import storage_error
from embsnap.storage.range_file import RangeFile
from embsnap.storage.wrappers import WrapperStore, WrapperWriter

__all__ = ["Fault", "FaultStore", "Operation", "disk_full", "input_output_error", "raising", "short_read"]

Operation: TypeAlias = Literal["stat", "read", "read_ranges", "list", "create", "write", "close", "delete"]
Action: TypeAlias = Callable[[str], None]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens around one operation on matching locations.

    Attributes:
        operation: The method; `write` and `close` are a writer's.
        action: Called with the location. It may raise, send a signal, or wait for another thread.
        match: Shell pattern of locations; `*` also matches `/`.
        after_bytes: For `write`: happens only when this object would grow beyond so many bytes; what fits of the
            data is written first.
        when: Whether the action comes before the operation or after it has succeeded.
    """

    operation: Operation
    action: Action
    match: str = "*"
    after_bytes: int = 0
    when: Literal["before", "after"] = "before"

    def concerns(self, operation: Operation, location: str, when: str) -> bool:
        """Whether this is the moment."""
        return self.operation == operation and self.when == when and fnmatchcase(location, self.match)


def raising(error: BaseException) -> Action:
    """An action that raises `error`."""

    def action(location: str) -> None:
        raise error

    return action


def disk_full(location: str) -> None:
    """The disk is full."""
    raise storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), location)


def input_output_error(location: str) -> None:
    """The device failed."""
    raise storage_error(OSError(errno.EIO, os.strerror(errno.EIO)), location)


def short_read(location: str) -> None:
    """The object ended early."""
    hint = "fetch it again"
    raise StorageError(ErrorKind.SHORT_READ, "ends before the bytes that were asked for", where=location, hint=hint)


class FaultStore(WrapperStore):
    """Passes everything on, with faults. It maps nothing, so that every read meets them."""

    def __init__(self, inner: Store, *faults: Fault) -> None:
        """Wrap `inner`; of several faults for one moment all happen, in order."""
        super().__init__(inner)
        self.faults = faults

    def stat(self, location: str) -> ObjectInfo | None:
        """With faults."""
        return self.around("stat", location, lambda: self.inner.stat(location))

    def read(self, location: str, *, limit: int) -> bytes:
        """With faults."""
        return self.around("read", location, lambda: self.inner.read(location, limit=limit))

    def read_ranges(self, location: str, requests: Sequence[RangeRead]) -> None:
        """With faults."""
        self.around("read_ranges", location, lambda: self.inner.read_ranges(location, requests))

    def map(self, location: str) -> memoryview | None:
        """Nothing is mapped."""
        check_location(location, where=self.uri)
        return None

    def open(self, location: str) -> BinaryIO:
        """A file whose every read is a `read_ranges` with faults."""
        info = self.inner.stat(location)
        if info is None:
            return self.inner.open(location)
        return cast(BinaryIO, RangeFile(info.size, lambda at, view: self.read_ranges(location, [RangeRead(at, view)])))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """With faults, which are matched against the prefix."""
        return self.around("list", prefix, lambda: self.inner.list(prefix))

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """With faults."""
        return self.around("create", location, lambda: self.inner.create(location, data))

    def writer(self, location: str) -> Writer:
        """With faults in its methods."""
        return _FaultWriter(self.inner.writer(location), self, location)

    def delete(self, location: str) -> None:
        """With faults."""
        self.around("delete", location, lambda: self.inner.delete(location))

    def around(self, operation: Operation, location: str, act: Callable[[], Result]) -> Result:
        """Do `act` between the faults before and after it."""
        self.happen(operation, location, "before")
        result = act()
        self.happen(operation, location, "after")
        return result

    def happen(self, operation: Operation, location: str, when: str) -> None:
        """Let the faults of this moment happen."""
        for fault in self.faults:
            if fault.concerns(operation, location, when):
                fault.action(location)


class _FaultWriter(WrapperWriter):
    def __init__(self, inner: Writer, store: FaultStore, location: str) -> None:
        super().__init__(inner)
        self._store = store
        self._location = location
        self._num_bytes = 0

    def write(self, data: Buffer) -> None:
        """Write up to the first fault's limit, then let it happen."""
        rest = memoryview(data).cast("B")
        for fault in self._store.faults:
            room = max(0, fault.after_bytes - self._num_bytes)
            if fault.concerns("write", self._location, "before") and len(rest) > room:
                self._append(rest[:room])
                rest = rest[room:]
                fault.action(self._location)
        self._append(rest)
        self._store.happen("write", self._location, "after")

    def close(self) -> ObjectInfo:
        return self._store.around("close", self._location, self.inner.close)

    def _append(self, data: memoryview) -> None:
        self.inner.write(data)
        self._num_bytes += len(data)

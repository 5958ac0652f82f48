"""Each thing that a store does, as a value: which requests it makes, how to do it, and how to see that it was done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embsnap.storage.base import RangeRead, Store
from tests.servers.fault_proxy import Fault
from tests.servers.faults import Action
from tests.servers.gcs import Bucket

__all__ = ["DATA", "LARGE", "OPERATIONS", "READS", "WRITES", "Operation"]

DATA = bytes(range(256)) * 400
LARGE = bytes(range(251)) * 80_000
"""More than one chunk of an upload."""


@dataclass(frozen=True)
class Operation:
    """One call on a store that holds `a` (with `DATA`) and `d/b`."""

    name: str
    method: str
    path: str
    """Of the requests that a fault is to meet, as in `Fault`."""
    call: Callable[[Store], Any]
    result: Any = None
    """What the call returns."""
    writes: bytes | None = None
    """What it leaves in `new`."""

    def fault(self, action: Action, **settings: Any) -> Fault:
        """A fault that meets this operation."""
        return Fault(action, method=self.method, path=self.path, **settings)

    def assert_done(self, store: Store, bucket: Bucket) -> None:
        """Do it, and see that it was done right."""
        assert self.call(store) == self.result
        if self.writes is not None:
            assert bucket.get("root/new") == self.writes
        expected = ["root/a", "root/d/b"]
        if self.name == "delete":
            expected = ["root/d/b"]
        elif self.writes is not None:
            expected.append("root/new")
        assert bucket.names() == expected

    def __repr__(self) -> str:
        return self.name


def read_ranges(store: Store) -> list[bytes]:
    """Two ranges that are fetched apart from each other, and one that is empty."""
    buffers = [bytearray(1_000), bytearray(2_000), bytearray()]
    starts = [100_000, 7, 5]
    store.read_ranges(
        "a", [RangeRead(start, memoryview(buffer)) for start, buffer in zip(starts, buffers, strict=True)]
    )
    return [bytes(buffer) for buffer in buffers]


def read_file(store: Store) -> bytes:
    """The end of an object, through a file."""
    with store.open("a") as file:
        file.seek(-300, 2)
        return file.read()


def write(data: bytes) -> Callable[[Store], None]:
    """Writes `new` in pieces."""

    def call(store: Store) -> None:
        with store.writer("new") as writer:
            for start in range(0, len(data), 3_000_000):
                writer.write(data[start : start + 3_000_000])

    return call


MEDIA = r"/o/root/a\?.*alt=media"

READS = [
    Operation("read", "GET", MEDIA, lambda store: store.read("a", limit=1 << 20), DATA),
    Operation("read_ranges", "GET", MEDIA, read_ranges, [DATA[100_000:101_000], DATA[7:2_007], b""]),
    Operation("open", "GET", MEDIA, read_file, DATA[-300:]),
    Operation("stat", "GET", "/o/root/a", lambda store: store.stat("a").size, len(DATA)),
    Operation("list", "GET", r"/o\?", lambda store: [found.location for found in store.list()], ["a", "d/b"]),
    Operation("children", "GET", r"/o\?", lambda store: store.children(), ("a", "d/")),
]

WRITES = [
    Operation("create", "POST", "/upload/", lambda store: store.create("new", DATA).size, len(DATA), writes=DATA),
    Operation("small writer", "POST", "/upload/", write(DATA), writes=DATA),
    Operation("large writer, its start", "POST", "uploadType=resumable", write(LARGE), writes=LARGE),
    Operation("large writer, its chunks", "PUT", "/upload/", write(LARGE), writes=LARGE),
    Operation("delete", "DELETE", "/o/root/a", lambda store: store.delete("a")),
]

OPERATIONS = [*READS, *WRITES]

"""Counting and refusing stores, and stores with faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from embsnap.errors import ErrorKind, RefusedError, StorageError
from embsnap.storage.base import RangeRead, Store
from embsnap.storage.memory import MemoryStore
from embsnap.storage.wrappers import CountingStore, ReadOnlyStore
from embsnap.testing.faults import Fault, FaultStore, disk_full, input_output_error, raising, short_read


@pytest.fixture
def inner() -> MemoryStore:
    store = MemoryStore("memory://wrappers")
    store.clear()
    store.create("a", b"12345")
    return store


def _ranges(store: Store, *places: tuple[int, int]) -> None:
    store.read_ranges("a", [RangeRead(start, memoryview(bytearray(size))) for start, size in places])


def test_counting_requests_ranges_and_bytes(inner: MemoryStore) -> None:
    store = CountingStore(inner)
    _ranges(store, (0, 2), (3, 1))
    store.read("a", limit=5)
    store.map("a")
    store.stat("b")
    store.open("a").close()
    store.create("b", b"xyz")
    with store.writer("c/d") as writer:
        writer.write(b"1234")
        writer.write(memoryview(bytearray(16)).cast("d"))
    store.children()
    store.delete("c/d")
    list(store.list())
    once = {"read_ranges", "read", "map", "stat", "open", "create", "writer", "children", "delete", "list"}
    assert store.requests == dict.fromkeys(once, 1)
    assert store.ranges == 2
    assert store.bytes_read == {"a": 8}
    assert store.bytes_written == {"b": 3, "c/d": 20}


def test_counting_the_bytes_of_an_open_file(inner: MemoryStore) -> None:
    store = CountingStore(inner)
    with store.open("a") as file:
        file.seek(1)
        assert file.read(2) == inner.read("a", limit=9)[1:3]
        assert store.bytes_read == {"a": 2}
        buffer = bytearray(9)
        assert file.readinto(buffer) == 2
        file.seek(0)
        assert file.read() == inner.read("a", limit=9)
    assert store.bytes_read == {"a": 9}


def test_a_failed_read_is_a_request_without_bytes(inner: MemoryStore) -> None:
    store = CountingStore(inner)
    with pytest.raises(StorageError):
        _ranges(store, (0, 6))
    assert store.requests == {"read_ranges": 1}
    assert store.bytes_read == {}


def test_counting_without_maps(inner: MemoryStore) -> None:
    store = CountingStore(inner, maps=False)
    assert store.map("a") is None
    assert store.requests == {}


@pytest.mark.parametrize("act", [lambda s: s.create("b", b""), lambda s: s.writer("b"), lambda s: s.delete("a")])
def test_read_only_refuses_writes_and_reads_on(inner: MemoryStore, act: Callable[[Store], object]) -> None:
    store = ReadOnlyStore(inner)
    with pytest.raises(RefusedError, match="for reading only") as caught:
        act(store)
    assert caught.value.kind == ErrorKind.READ_ONLY
    assert [found.location for found in store.list()] == ["a"]
    assert store.read("a", limit=5) == b"12345"


def test_a_full_disk_takes_what_fits(inner: MemoryStore) -> None:
    store = FaultStore(inner, Fault("write", disk_full, match="x/*", after_bytes=5))
    writer = store.writer("x/b")
    writer.write(b"123")
    with pytest.raises(StorageError) as caught:
        writer.write(b"456")
    assert caught.value.kind == ErrorKind.DISK_FULL
    assert writer.close().size == 5
    with store.writer("y") as other:
        other.write(b"1234567")
    assert inner.read("y", limit=9) == b"1234567"


@pytest.mark.parametrize(
    ("action", "kind"), [(short_read, ErrorKind.SHORT_READ), (input_output_error, ErrorKind.STORAGE_FAILED)]
)
def test_reads_fail_where_asked(inner: MemoryStore, action: Callable[[str], None], kind: ErrorKind) -> None:
    store = FaultStore(inner, Fault("read_ranges", action, match="a"))
    assert store.map("a") is None
    with pytest.raises(StorageError) as caught:
        _ranges(store, (0, 1))
    assert caught.value.kind == kind
    assert store.read("a", limit=5) == b"12345"


def test_an_action_after_the_operation_finds_it_done(inner: MemoryStore) -> None:
    store = FaultStore(inner, Fault("create", raising(KeyboardInterrupt()), when="after"))
    with pytest.raises(KeyboardInterrupt):
        store.create("b", b"x")
    assert inner.read("b", limit=1) == b"x"

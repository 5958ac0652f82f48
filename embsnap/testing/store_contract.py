"""What every store must do, as a test class to inherit and a state machine that compares it with a dict.

class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(str(tmp_path / "root"))

TestLocalStoreMachine = store_machine(lambda: LocalStore(tempfile.mkdtemp()))
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from unittest import TestCase

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embsnap.errors import ErrorKind, NotFoundError, RefusedError, SnapshotError, StorageError
from embsnap.storage.base import ObjectInfo, RangeRead, Store, Writer

__all__ = ["StoreContract", "store_machine"]

UNSAFE_LOCATIONS = ["", "/etc/passwd", "../a", "a/../../b", "a//b", "./a", "a/", "a\0b", ".."]


class StoreContract:
    """Inherit it and give a `store` fixture: an empty store, a new one for each test."""

    def test_what_was_created_is_read_whole(self, store: Store) -> None:
        info = store.create("batched/a", b"hello")
        assert (info.location, info.size) == ("batched/a", 5)
        assert store.read("batched/a", limit=5) == b"hello"
        assert store.stat("batched/a") == info
        with store.open("batched/a") as file:
            assert (file.seek(2), file.read()) == (2, b"llo")

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        store.create("empty", b"")
        assert store.read("empty", limit=0) == b""
        assert bytes(store.map("empty") or b"") == b""
        store.read_ranges("empty", [RangeRead(0, memoryview(bytearray()))])

    def test_nothing_there(self, store: Store) -> None:
        assert store.stat("a") is None
        assert list(store.list()) == []
        assert store.children() == store.children("a") == ()
        store.delete("a")
        reads: list[Callable[[], object]] = [
            lambda: store.read("a", limit=1),
            lambda: store.read_ranges("a", [RangeRead(0, memoryview(bytearray(1)))]),
            lambda: store.open("a"),
        ]
        for read in reads:
            with pytest.raises(NotFoundError) as caught:
                read()
            assert caught.value.kind == ErrorKind.NO_SUCH_OBJECT
            assert "a" in str(caught.value)

    def test_a_directory_is_no_object(self, store: Store) -> None:
        store.create("a/b", b"x")
        assert store.stat("a") is None
        store.delete("a")
        assert store.read("a/b", limit=1) == b"x"
        with pytest.raises(NotFoundError):
            store.read("a", limit=1)

    def test_an_object_above_the_limit_is_refused(self, store: Store) -> None:
        store.create("a", b"12345")
        with pytest.raises(StorageError, match=r"at most 4 bytes.*5 bytes") as caught:
            store.read("a", limit=4)
        assert caught.value.kind == ErrorKind.OBJECT_TOO_LARGE

    def test_ranges_in_any_order_and_overlapping(self, store: Store) -> None:
        data = bytes(range(256)) * 40
        store.create("a", data)
        places = [(9000, 100), (0, 10), (5, 10), (10_239, 1), (0, len(data)), (77, 0)]
        buffers = [bytearray(size) for _, size in places]
        arrived: list[tuple[int, bytes]] = []
        requests = [
            RangeRead(start, memoryview(buffer), lambda at, data: arrived.append((at, bytes(data))))
            for (start, _), buffer in zip(places, buffers, strict=True)
        ]
        store.read_ranges("a", requests)
        assert all(found == data[at : at + len(found)] for at, found in arrived)
        assert sum(len(found) for _, found in arrived) >= sum(size for _, size in places)
        assert [bytes(buffer) for buffer in buffers] == [data[start : start + size] for start, size in places]

    @pytest.mark.parametrize(("start", "size"), [(3, 3), (5, 1), (1000, 1)])
    def test_a_range_beyond_the_end_is_a_short_read(self, store: Store, start: int, size: int) -> None:
        store.create("a", b"12345")
        with pytest.raises(StorageError, match=rf"bytes \[{start}, {start + size}\).*5 bytes") as caught:
            store.read_ranges("a", [RangeRead(start, memoryview(bytearray(size)))])
        assert caught.value.kind == ErrorKind.SHORT_READ

    def test_a_map_is_the_object_and_read_only(self, store: Store) -> None:
        store.create("a", b"12345")
        mapped = store.map("a")
        if mapped is not None:
            assert bytes(mapped) == b"12345"
            assert mapped.readonly

    def test_create_does_not_overwrite(self, store: Store) -> None:
        store.create("a", b"first")
        with pytest.raises(RefusedError) as caught:
            store.create("a", b"second")
        assert caught.value.kind == ErrorKind.DESTINATION_TAKEN
        assert store.read("a", limit=10) == b"first"

    def test_of_racing_creators_one_wins(self, store: Store) -> None:
        barrier = threading.Barrier(4)

        def create(data: bytes) -> bytes | None:
            barrier.wait()
            try:
                store.create("x/a", data)
            except RefusedError:
                return None
            return data

        with ThreadPoolExecutor(4) as pool:
            winners = [data for data in pool.map(create, (b"0", b"1", b"2", b"3")) if data is not None]
        assert winners == [store.read("x/a", limit=1)]

    def test_a_writer_shows_nothing_before_it_closes(self, store: Store) -> None:
        writer = store.writer("x/a")
        buffer = bytearray(b"abc")
        writer.write(buffer)
        buffer[:] = b"def"
        writer.write(memoryview(buffer))
        assert store.stat("x/a") is None
        assert list(store.list()) == []
        info = writer.close()
        assert (info.location, info.size) == ("x/a", 6)
        assert store.read("x/a", limit=6) == b"abcdef"
        assert list(store.unfinished()) == []

    def test_a_writer_does_not_overwrite(self, store: Store) -> None:
        writer = store.writer("a")
        writer.write(b"late")
        store.create("a", b"early")
        with pytest.raises(RefusedError):
            writer.close()
        assert store.read("a", limit=5) == b"early"
        assert list(store.unfinished()) == []

    def test_an_aborted_writer_leaves_nothing(self, store: Store) -> None:
        writer = store.writer("a")
        writer.write(b"x")
        writer.abort()
        writer.abort()
        assert (list(store.list()), list(store.unfinished())) == ([], [])
        store.create("a", b"free")

    def test_a_writer_aborts_on_any_exception(self, store: Store) -> None:
        def interrupted() -> None:
            with store.writer("a") as writer:
                writer.write(b"x")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert (list(store.list()), list(store.unfinished())) == ([], [])

    def test_the_generation_changes_with_the_object(self, store: Store) -> None:
        before = store.create("a", b"x")
        assert store.stat("a") == before
        store.delete("a")
        assert store.create("a", b"y").generation != before.generation

    def test_list_is_sorted_and_by_prefix(self, store: Store) -> None:
        locations = [".hidden", "a.b", "a/b", "a/c/d", "a/cd", "ab", "é/ü"]
        for location in reversed(locations):
            store.create(location, location.encode())
        assert [found.location for found in store.list()] == sorted(locations)
        assert [found.size for found in store.list("é")] == [5]
        for prefix in ("a", "a/", "a/c", "a/c/", "a/c/d", "a/c/d/", "z", ".h"):
            assert [found.location for found in store.list(prefix)] == sorted(
                location for location in locations if location.startswith(prefix)
            )

    def test_list_and_stat_are_fresh(self, store: Store) -> None:
        store.create("a/b", b"x")
        assert len(list(store.list())) == 1
        store.delete("a/b")
        assert (list(store.list()), store.stat("a/b"), store.children()) == ([], None, ())

    def test_children(self, store: Store) -> None:
        for location in (".x", "10/a", "9/b/c", "9/d", "e"):
            store.create(location, b"")
        assert store.children() == (".x", "10/", "9/", "e")
        assert store.children("9") == store.children("9/") == ("b/", "d")

    @pytest.mark.parametrize("location", UNSAFE_LOCATIONS)
    def test_unsafe_locations_are_refused(self, store: Store, location: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.stat(location),
            lambda: store.read(location, limit=1),
            lambda: store.read_ranges(location, []),
            lambda: store.map(location),
            lambda: store.open(location),
            lambda: store.create(location, b""),
            lambda: store.writer(location),
            lambda: store.delete(location),
        ]
        for call in calls:
            with pytest.raises(SnapshotError) as caught:
                call()
            assert caught.value.kind == ErrorKind.UNSAFE_LOCATION
            assert repr(location) in str(caught.value)

    def test_threads_share_a_store(self, store: Store) -> None:
        def write_and_read(index: int) -> bytes:
            with store.writer(f"d/{index}") as writer:
                writer.write(bytes([index]) * 1000)
            buffer = bytearray(500)
            store.read_ranges(f"d/{index}", [RangeRead(250, memoryview(buffer))])
            return bytes(buffer)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(write_and_read, range(16))) == [bytes([index]) * 500 for index in range(16)]
        assert len(list(store.list("d/"))) == 16


_LOCATIONS = st.sampled_from([".m", "a", "b/c", "b/d/e", "b/d/f", "b.x", "bb", "é/ü x"])
_DATA = st.binary(max_size=40)


def store_machine(make_store: Callable[[], Store]) -> type[TestCase]:
    """A test case that does random operations on an empty store and on a dict, and compares them after each.

    Args:
        make_store: Makes a new, empty store.
    """

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.store = make_store()
            self.expected: dict[str, bytes] = {}
            self.open: list[tuple[Writer, str, bytes]] = []

        @rule(location=_LOCATIONS, data=_DATA)
        def create(self, location: str, data: bytes) -> None:
            self._put(location, data, lambda: self.store.create(location, data))

        @rule(location=_LOCATIONS, parts=st.lists(_DATA, max_size=3))
        def start_writing(self, location: str, parts: list[bytes]) -> None:
            writer = self.store.writer(location)
            for part in parts:
                writer.write(part)
            self.open.append((writer, location, b"".join(parts)))

        @precondition(lambda self: bool(self.open))
        @rule(closes=st.booleans())
        def end_writing(self, closes: bool) -> None:
            writer, location, data = self.open.pop()
            if closes:
                self._put(location, data, writer.close)
            else:
                writer.abort()

        @rule(location=_LOCATIONS)
        def delete(self, location: str) -> None:
            self.store.delete(location)
            self.expected.pop(location, None)

        @rule(location=_LOCATIONS, start=st.integers(0, 45), size=st.integers(0, 45))
        def read_range(self, location: str, start: int, size: int) -> None:
            buffer = bytearray(size)
            requests = [RangeRead(start, memoryview(buffer))]
            expected = self.expected.get(location)
            if expected is None:
                with pytest.raises(NotFoundError):
                    self.store.read_ranges(location, requests)
            elif size and start + size > len(expected):
                with pytest.raises(StorageError, match=rf"\[{start}, {start + size}\)"):
                    self.store.read_ranges(location, requests)
            else:
                self.store.read_ranges(location, requests)
                assert buffer == expected[start : start + size]

        @rule(prefix=st.sampled_from(["", "b", "b/", "b/d", "b/d/", "é", "zz"]))
        def list(self, prefix: str) -> None:
            found = [(info.location, info.size) for info in self.store.list(prefix)]
            assert found == sorted((key, len(data)) for key, data in self.expected.items() if key.startswith(prefix))

        @invariant()
        def holds_what_is_expected(self) -> None:
            assert {
                info.location: self.store.read(info.location, limit=100) for info in self.store.list()
            } == self.expected

        @invariant()
        def shows_children(self) -> None:
            expected = {key.partition("/")[0] + "/" if "/" in key else key for key in self.expected}
            found = self.store.children()
            assert found == tuple(sorted(found))
            assert expected <= set(found)
            assert all(name.endswith("/") for name in set(found) - expected)

        def _put(self, location: str, data: bytes, act: Callable[[], ObjectInfo]) -> None:
            try:
                act()
            except RefusedError:
                assert location in self.expected
            else:
                assert location not in self.expected
                self.expected[location] = data

        def teardown(self) -> None:
            for writer, _, _ in self.open:
                writer.abort()

    Machine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
    return Machine.TestCase

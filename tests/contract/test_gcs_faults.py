"""What goes wrong once between the store and Cloud Storage is made good, and what cannot be is never taken for right.

The real client talks to a real server through a proxy that does harm.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, StorageError
from embsnap.storage.base import RangeRead, Store
from embsnap.storage.uri import open_store
from tests.contract.gcs_operations import DATA, LARGE, MEDIA, OPERATIONS, READS, WRITES, Operation
from tests.servers import faults
from tests.servers.fault_proxy import Fault
from tests.servers.faults import Action
from tests.servers.gcs import FaultyBucket

PASSING = {
    **{f"status {code}": faults.status(code) for code in (408, 429, 500, 502, 503, 504)},
    "status 503 that says invalid": faults.status(503, "invalid"),
    "reset": faults.reset(),
    "lost reply": faults.lost_reply(),
}
"""Faults of any request."""
IN_BODIES = {
    "truncated": faults.truncated(100),
    "truncated at once": faults.truncated(0),
    "short": faults.short(100),
    "stalled": faults.stalled(),
    "stalled within": faults.stalled(num_bytes=100),
}
"""Faults of an answer that has more than 100 bytes."""
RANGED = {
    "whole object": faults.whole_object(),
    "other range": faults.other_range(50, 350),
    "range of another length": faults.other_range(0, 5_000),
}


@pytest.fixture
def bucket(gcs_proxy: FaultyBucket) -> FaultyBucket:
    """A bucket behind the proxy, with two objects."""
    gcs_proxy.put("root/a", DATA)
    gcs_proxy.put("root/d/b", b"b")
    return gcs_proxy


@pytest.fixture
def store(bucket: FaultyBucket, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store under test: patient as a whole, but an attempt on which nothing arrives for 0.6 s has failed."""
    monkeypatch.setattr("embsnap.storage.retries._SHARE_OF_FIRST_ATTEMPT", 0.005)
    return open_store(bucket.uri("root"), {"timeout": "120"})


def named(actions: dict[str, Action]) -> pytest.MarkDecorator:
    """One test for each action."""
    return pytest.mark.parametrize("action", actions.values(), ids=actions)


def harmed(bucket: FaultyBucket) -> int:
    """How many requests met a fault."""
    return sum(request.harmed for request in bucket.log)


@pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
def test_without_faults(bucket: FaultyBucket, store: Store, operation: Operation) -> None:
    operation.assert_done(store, bucket)
    assert [request for request in bucket.log if re.search(operation.path, request.path)]


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        pytest.param(operation, action, id=f"{operation}-{name}")
        for operation in OPERATIONS
        for name, action in PASSING.items()
        if (operation.name, name) != ("large writer, its chunks", "lost reply")  # the next test
    ],
)
def test_what_passes_is_tried_again(bucket: FaultyBucket, store: Store, operation: Operation, action: Action) -> None:
    bucket.add(operation.fault(action, times=2))
    operation.assert_done(store, bucket)
    assert harmed(bucket) >= 1


def test_a_chunk_that_the_server_took_twice_is_noticed(bucket: FaultyBucket, store: Store) -> None:
    """A real server drops what it has already; this one appends it, so that the object is not what was sent."""
    bucket.add(Fault(faults.lost_reply(), method="PUT"))
    with pytest.raises(StorageError), store.writer("new") as writer:
        writer.write(LARGE)
    assert bucket.names() == ["root/a", "root/d/b"]


@named(IN_BODIES)
@pytest.mark.parametrize("operation", READS, ids=repr)
def test_an_answer_that_ends_early(bucket: FaultyBucket, store: Store, operation: Operation, action: Action) -> None:
    bucket.add(operation.fault(action))
    operation.assert_done(store, bucket)
    assert harmed(bucket) == 1


@pytest.mark.parametrize("operation", WRITES, ids=repr)
def test_a_write_that_stalls(bucket: FaultyBucket, store: Store, operation: Operation) -> None:
    bucket.add(operation.fault(faults.stalled()))
    operation.assert_done(store, bucket)
    assert harmed(bucket) == 1


@named(RANGED)
@pytest.mark.parametrize("operation", READS[1:3], ids=repr)
def test_another_range_than_asked_for(bucket: FaultyBucket, store: Store, operation: Operation, action: Action) -> None:
    bucket.add(operation.fault(action))
    operation.assert_done(store, bucket)
    assert harmed(bucket) == 1


def test_a_reply_lost_after_the_deed(bucket: FaultyBucket, store: Store) -> None:
    """The object is ours although the server says that there is one."""
    for operation in WRITES[:2]:
        bucket.add(operation.fault(faults.status(503, forwards=True)))
        operation.assert_done(store, bucket)
        store.delete("new")


def test_a_reply_lost_while_another_was_first(bucket: FaultyBucket, store: Store) -> None:
    bucket.put("root/new", DATA)
    bucket.add(Fault(faults.lost_reply(), method="POST"))
    with pytest.raises(EmbsnapError) as caught:
        store.create("new", DATA)
    assert caught.value.kind is ErrorKind.DESTINATION_TAKEN


def test_a_flipped_bit_in_a_whole_object_is_found(bucket: FaultyBucket, store: Store) -> None:
    bucket.add(Fault(faults.flipped(), path=MEDIA))
    assert store.read("a", limit=1 << 20) == DATA
    assert len(bucket.log) == 2


def test_a_bit_that_always_flips_is_an_error(bucket: FaultyBucket) -> None:
    bucket.add(Fault(faults.flipped(), path=MEDIA, times=None))
    with pytest.raises(StorageError, match="CRC-32C") as caught:
        open_store(bucket.uri("root"), {"timeout": "1"}).read("a", limit=1 << 20)
    assert caught.value.kind is ErrorKind.CORRUPT_TRANSFER


def test_a_part_goes_on_where_it_broke_off(bucket: FaultyBucket, store: Store) -> None:
    bucket.add(Fault(faults.truncated(70_000), path=MEDIA))
    buffer = bytearray(100_000)
    store.read_ranges("a", [RangeRead(0, memoryview(buffer))])
    assert buffer == DATA[:100_000]
    assert [request.range for request in bucket.log] == ["bytes=0-99999", "bytes=70000-99999"]


def test_only_the_part_that_failed_is_fetched_again(bucket: FaultyBucket, store: Store) -> None:
    bucket.put("root/large", LARGE)
    bucket.add(Fault(faults.status(503), range="bytes=8388608-"))
    buffer = bytearray(len(LARGE))
    store.read_ranges("large", [RangeRead(0, memoryview(buffer))])
    assert buffer == LARGE
    ranges = [request.range for request in bucket.log]
    assert {text: ranges.count(text) for text in ranges} == {
        "bytes=0-8388607": 1,
        "bytes=8388608-16777215": 2,
        f"bytes=16777216-{len(LARGE) - 1}": 1,
    }


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (401, ErrorKind.NOT_AUTHENTICATED, "login"),
        (403, ErrorKind.PERMISSION_DENIED, "project"),
    ],
)
@pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
def test_who_may_not_is_told_at_once(
    bucket: FaultyBucket, store: Store, operation: Operation, code: int, kind: ErrorKind, advice: str
) -> None:
    bucket.add(operation.fault(faults.status(code, "the server's own words"), times=None))
    with pytest.raises(StorageError, match="the server's own words") as caught:
        operation.call(store)
    assert caught.value.kind is kind
    assert str(caught.value.where).startswith(bucket.uri("root"))
    assert advice in str(caught.value.hint)
    assert harmed(bucket) <= (2 if operation.name == "read_ranges" else 1)  # one for each part


def test_what_does_not_exist_is_told_apart(bucket: FaultyBucket, store: Store) -> None:
    with pytest.raises(NotFoundError) as caught:
        store.read("missing", limit=1)
    assert caught.value.kind is ErrorKind.NO_SUCH_OBJECT
    assert "spelling" in str(caught.value.hint)
    assert len([request for request in bucket.log if "alt=media" in request.path]) == 1


def test_a_bucket_that_does_not_exist(bucket: FaultyBucket, store: Store) -> None:
    elsewhere = open_store("gs://no-such-bucket-here/root", {"timeout": "120"})
    for call in (lambda: list(elsewhere.list()), lambda: elsewhere.create("a", b"")):
        with pytest.raises(NotFoundError, match="no-such-bucket-here") as caught:
            call()
        assert caught.value.kind is ErrorKind.NO_SUCH_BUCKET
    bucket.add(Fault(faults.status(404, "The specified bucket does not exist."), path=MEDIA))
    with pytest.raises(NotFoundError) as caught:
        store.read("a", limit=1 << 20)
    assert caught.value.kind is ErrorKind.NO_SUCH_BUCKET


def test_an_aborted_upload_ends_its_session(bucket: FaultyBucket, store: Store) -> None:
    writer = store.writer("new")
    writer.write(LARGE)
    writer.abort()
    assert bucket.names() == ["root/a", "root/d/b"]
    assert bucket.log[-1].method == "DELETE"
    assert "upload" in bucket.log[-1].path


def test_a_replaced_object_is_noticed_in_the_middle(bucket: FaultyBucket, store: Store, tmp_path: Path) -> None:
    buffer = bytearray(10)
    store.read_ranges("a", [RangeRead(0, memoryview(buffer))])
    bucket.put("root/a", DATA[::-1])
    with pytest.raises(StorageError) as caught:
        store.read_ranges("a", [RangeRead(10, memoryview(buffer))])
    assert caught.value.kind is ErrorKind.OBJECT_REPLACED
    with store.open("d/b") as file:
        bucket.put("root/d/b", b"c")
        with pytest.raises(StorageError) as caught:
            file.read()
    assert caught.value.kind is ErrorKind.OBJECT_REPLACED

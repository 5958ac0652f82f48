"""The store in S3 keeps the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

import pytest

from embsnap.errors import RefusedError
from embsnap.storage.base import Store
from embsnap.storage.s3 import S3Store
from embsnap.storage.s3_writer import PART_BYTES
from embsnap.storage.uri import open_store
from embsnap.storage.wrappers import ReadOnlyStore
from embsnap.testing.store_contract import StoreContract, store_machine
from tests.servers.s3 import S3Bucket

_names = count()
_buckets: list[S3Bucket] = []


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, s3: S3Bucket) -> Store:
        store = open_store(s3.uri("a prefix/é"))
        assert isinstance(store, S3Store)
        return store


def test_uploads_of_writers_that_died(s3: S3Bucket) -> None:
    """They show nothing, and can be told from the objects, of the same name too."""
    store = open_store(s3.uri("root"))
    store.create("whole", b"x")
    writers = [store.writer(location) for location in ("d/a", "d/a", "whole", "b")]
    for writer in writers:
        writer.write(bytes(PART_BYTES + 1))
    assert [(found.location, found.size) for found in store.uploads()] == [
        ("b", PART_BYTES),
        ("d/a", PART_BYTES),
        ("d/a", PART_BYTES),
        ("whole", PART_BYTES),
    ]
    assert list(open_store(s3.uri("roo")).uploads()) == []
    assert [found.location for found in store.list()] == ["whole"]
    first, *_, last = store.uploads()
    assert first.modified == pytest.approx(time.time(), abs=60)
    for found in (first, last, last):
        store.drop_upload(found)
    assert [found.location for found in store.uploads()] == ["d/a", "d/a"]
    with pytest.raises(RefusedError):
        ReadOnlyStore(store).drop_upload(next(store.uploads()))
    for writer in writers:
        writer.abort()
    assert list(store.uploads()) == []


@pytest.fixture(autouse=True)
def _bucket(s3: S3Bucket) -> Iterator[None]:
    _buckets.append(s3)
    yield
    _buckets.pop()


TestS3StoreMachine = store_machine(lambda: open_store(_buckets[-1].uri(f"machine/{next(_names)}")))

"""The store in S3 keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from embsnap.storage.base import Store
from embsnap.storage.s3 import S3Store
from embsnap.storage.uri import open_store
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


@pytest.fixture(autouse=True)
def _bucket(s3: S3Bucket) -> Iterator[None]:
    _buckets.append(s3)
    yield
    _buckets.pop()


TestS3StoreMachine = store_machine(lambda: open_store(_buckets[-1].uri(f"machine/{next(_names)}")))

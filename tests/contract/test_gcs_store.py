"""The store in Google Cloud Storage keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from embsnap.storage.base import Store
from embsnap.storage.uri import open_store
from embsnap.testing.store_contract import StoreContract, store_machine
from tests.servers.gcs import Bucket

_names = count()
_buckets: list[Bucket] = []


class TestGcsStore(StoreContract):
    @pytest.fixture
    def store(self, gcs: Bucket) -> Store:
        return open_store(gcs.uri("a prefix/é"))


class TestGcsStoreAtTheTopOfItsBucket(StoreContract):
    @pytest.fixture
    def store(self, gcs: Bucket) -> Store:
        return open_store(gcs.uri())


@pytest.fixture(autouse=True)
def _bucket(gcs: Bucket) -> Iterator[None]:
    _buckets.append(gcs)
    yield
    _buckets.pop()


TestGcsStoreMachine = store_machine(lambda: open_store(_buckets[-1].uri(f"machine/{next(_names)}")))

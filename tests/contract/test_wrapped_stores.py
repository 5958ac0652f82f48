"""Stores around a store keep the contract of the store inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from embsnap.storage.base import Store
from embsnap.storage.local import LocalStore
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.faults import FaultStore
from embsnap.testing.store_contract import StoreContract


class TestCountingStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return CountingStore(LocalStore(str(tmp_path)))


class TestFaultStoreWithoutFaults(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FaultStore(LocalStore(str(tmp_path)))

"""The store in memory keeps the contract."""

from __future__ import annotations

from itertools import count

import pytest

from embsnap.storage.base import Store
from embsnap.storage.memory import MemoryStore
from embsnap.testing.store_contract import StoreContract, store_machine

_names = count()


def _new_store() -> Store:
    return MemoryStore(f"memory://contract-{next(_names)}/root")


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return _new_store()


TestMemoryStoreMachine = store_machine(_new_store)

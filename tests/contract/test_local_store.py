"""The local store keeps the contract."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from embsnap.storage.base import Store
from embsnap.storage.local import LocalStore
from embsnap.testing.store_contract import StoreContract, store_machine

_numbers = count()
_parents: list[Path] = []


@pytest.fixture(autouse=True, scope="module")
def _parent(tmp_path_factory: pytest.TempPathFactory) -> None:
    _parents.append(tmp_path_factory.mktemp("machine"))


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(str(tmp_path / "missing" / "root"))


TestLocalStoreMachine = store_machine(lambda: LocalStore(f"{_parents[-1]}/{next(_numbers)}"))

"""Wishes about mapped memory: nothing that is read changes, whatever they are about."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.storage.local import LocalStore
from embsnap.storage.mapped import ask_for


@pytest.mark.parametrize("bounds", [(0, 100_000), (5000, 5001), (4096, 8192), (99_999, 100_000), (7, 7)])
def test_any_part_of_a_mapped_file(tmp_path, bounds):
    (tmp_path / "a").write_bytes(bytes(range(250)) * 400)
    rows = np.frombuffer(LocalStore(tmp_path).map("a"), np.uint8)[slice(*bounds)]
    ask_for(rows)
    assert rows.tobytes() == (bytes(range(250)) * 400)[slice(*bounds)]


def test_memory_that_is_no_file():
    rows = np.arange(9, dtype=np.uint8)
    ask_for(rows[2:5])
    ask_for(np.frombuffer(b"abc", np.uint8))
    assert rows.tolist() == list(range(9))

"""A snapshot to collect around."""

from __future__ import annotations

from pathlib import Path

import pytest

from embsnap.testing.tables import write_arrays
from tests.unit.ops.collecting.leftovers import DAY_S, ROWS, age


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """A snapshot, two days old."""
    root = tmp_path / "snapshot"
    write_arrays(str(root), {"user": ROWS})
    age(root, 2 * DAY_S)
    return root

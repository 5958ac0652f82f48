"""What cannot be written as it was is said, or refused in plain words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import embsnap
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import read_array

KEY = "model/ebc.embedding_bags.user.weight"
ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture
def grid(tmp_path: Path) -> str:
    """Four ranks, each with half of the rows and half of the columns."""
    builder = SnapshotBuilder(world_size=4)
    boxes = {rank: [((rank // 2 * 3, rank % 2 * 2), (3, 2))] for rank in range(4)}
    builder.sharded(KEY, ROWS, boxes)
    return str(builder.write(tmp_path / "grid"))


def test_a_grid_that_is_changed_is_said_to_become_row_wise(grid: str, tmp_path: Path) -> None:
    planned = embsnap.migration(grid).cast("user", "fp16").plan()
    (table,) = planned.result().tables
    assert [finding.kind for finding in table.findings] == ["grid-regrouped"]
    assert "row-wise" in table.findings[0].message
    out = str(tmp_path / "out")
    planned.apply(out)
    np.testing.assert_array_equal(read_array(out, "user"), ROWS.astype(np.float16))
    (table,) = embsnap.migration(out).cast("user", "fp32").plan().result().tables
    assert table.findings == ()


def test_a_grid_that_is_kept_stays_one(grid: str) -> None:
    (table,) = embsnap.migration(grid).keep("user").plan().result().tables
    assert (table.copied, table.findings) == (True, ())


def test_state_of_three_dimensions_is_refused_in_plain_words(tmp_path: Path) -> None:
    builder = SnapshotBuilder()
    builder.tensor(KEY, ROWS)
    builder.tensor("optimizer/state/opt.ebc.embedding_bags.user.weight/cube", np.zeros((6, 2, 2), np.float32))
    source = str(builder.write(tmp_path / "source"))
    with pytest.raises(IncompatibleError, match="more than two dimensions") as caught:
        embsnap.migration(source).cast("user", "fp16").plan()
    assert caught.value.kind is ErrorKind.SHAPE_MISMATCH
    assert "/cube" in str(caught.value.where)
    assert caught.value.found == "shape [6, 2, 2]"
    out = str(tmp_path / "out")
    embsnap.migration(source).optimizer_state("drop", tables="user").cast("user", "fp16").write(out)
    np.testing.assert_array_equal(read_array(out, "user"), ROWS.astype(np.float16))

"""A permuted table larger than memory is brought near before it is read."""

from __future__ import annotations

import os

import numpy as np
import pytest

import embsnap
from embsnap.errors import ErrorKind, StorageError
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.migrate import plan as plans
from embsnap.ops.migrate.plan import MigrationOptions
from embsnap.ops.migrate.spill import is_scattered, spilled
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary

NUM_ROWS = 60_000
ROWS = np.random.default_rng(0).normal(size=(NUM_ROWS, 64)).astype(np.float32)
BUDGET = 2 << 20


@pytest.fixture
def plan(request: pytest.FixtureRequest):
    root = f"memory://spill/{request.node.name}"
    write_arrays(f"{root}/source", {"user": ROWS})
    ids = np.random.default_rng(1).permutation(NUM_ROWS + 50)[:NUM_ROWS]
    write_vocabulary(make_vocabulary(list(range(NUM_ROWS))), f"{root}/old.parquet")
    write_vocabulary(make_vocabulary(ids.tolist()), f"{root}/new.parquet")
    begun = embsnap.migration(f"{root}/source", options=MigrationOptions(memory_budget=BUDGET))
    moved = begun.vocab("user", f"{root}/old.parquet").revocab("user", f"{root}/new.parquet", initializer="zeros")
    expected = np.where((ids < NUM_ROWS)[:, None], ROWS[np.minimum(ids, NUM_ROWS - 1)], 0)
    return moved.plan(), f"{root}/out", expected


def test_no_stored_row_is_read_at_random(plan, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, out, expected = plan
    monkeypatch.setattr(ArrayReader, "gather", lambda *_: pytest.fail("read at random"))
    planned.apply(out)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_array(out, "user"), expected)


def test_what_fits_or_lies_in_order_is_left_where_it_is(plan) -> None:
    planned, _, _ = plan
    node = planned.draft.tables["user"].rows
    [(leaf, _), *_] = node.leaves(np.arange(1))
    assert is_scattered(node, leaf)
    assert not is_scattered(leaf, leaf)
    with spilled([(node, 1)], 1 << 30, 2, plans.SILENT):
        assert leaf.near is None
    with spilled([(node, 1)], BUDGET, 2, plans.SILENT):
        assert leaf.near is not None
    assert leaf.near is None


def test_no_room_is_said_before_anything_is_written(plan, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, out, _ = plan
    found = os.statvfs("/tmp")
    monkeypatch.setattr(os, "fstatvfs", lambda fd: os.statvfs_result((*found[:4], 0, *found[5:])))
    with pytest.raises(StorageError, match="no room to be reordered") as caught:
        planned.apply(out)
    assert caught.value.kind is ErrorKind.DISK_FULL


@pytest.mark.parametrize("first", ["moved", "other"])
def test_tables_of_the_same_rows_share_what_was_brought_near(first: str) -> None:
    root = f"memory://spill/shared-{first}"
    write_arrays(f"{root}/source", {"user": ROWS})
    ids = np.random.default_rng(1).permutation(NUM_ROWS // 2)
    write_vocabulary(make_vocabulary(list(range(NUM_ROWS))), f"{root}/old.parquet")
    write_vocabulary(make_vocabulary(ids.tolist()), f"{root}/new.parquet")
    begun = embsnap.migration(f"{root}/source", options=MigrationOptions(memory_budget=BUDGET))
    begun = begun.vocab("user", f"{root}/old.parquet")
    half = {"ids_from": f"{root}/new.parquet"}
    if first == "moved":
        begun = begun.split("user", {"moved": half}, rest="other")
    else:
        begun = begun.copy("user", "moved").prune("moved", min_norm=0.0).normalize("user", high=1e9)
        begun = begun.rename({"user": "other"})
    begun.revocab("moved", f"{root}/new.parquet").write(f"{root}/out")
    np.testing.assert_array_equal(read_array(f"{root}/out", "moved"), ROWS[ids])
    expected = ROWS[NUM_ROWS // 2 :] if first == "moved" else ROWS
    np.testing.assert_array_equal(read_array(f"{root}/out", "other"), expected)

"""Rows used where they are mapped, against the arrays that were written."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.storage.local import LocalStore
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.corruptors import flip_bit, object_of
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import write_arrays

PATH = "model/ebc.embedding_bags.user.weight"
ROWS_VD = np.random.default_rng(0).standard_normal((3 << 14, 64)).astype(np.float32)
"""Twelve MiB: three blocks of the sidecar."""


@pytest.fixture
def written(tmp_path):
    write_arrays(str(tmp_path), {"user": ROWS_VD})
    return tmp_path


def reader_of(root):
    snapshot = open_snapshot(str(root))
    return snapshot.reader(snapshot.table("user").weight)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_pieces_of_rows(tmp_path, dtype):
    rows_VD = np.random.default_rng(0).random((11, 3)).astype(dtype)
    builder = SnapshotBuilder(world_size=4)
    builder.sharded(PATH, rows_VD, row_shards(rows_VD.shape, 4))
    found = reader_of(builder.write(tmp_path)).in_place()
    np.testing.assert_array_equal(np.concatenate(found.bands.bands), rows_VD)
    np.testing.assert_array_equal(found.read(3, 6), rows_VD[3:6])
    assert found.read(2, 4) is None
    assert not found.read(0, 3).flags.writeable


def test_pieces_of_columns_have_no_rows_in_place(tmp_path):
    rows_VD = np.ones((5, 4), np.float32)
    builder = SnapshotBuilder(world_size=2)
    builder.sharded(PATH, rows_VD, {rank: [((0, 2 * rank), (5, 2))] for rank in range(2)})
    assert reader_of(builder.write(tmp_path)).in_place() is None


def test_storage_that_cannot_map_has_none(written):
    snapshot = open_snapshot(str(written))
    snapshot.store = CountingStore(LocalStore(str(written)), maps=False)
    assert snapshot.reader(snapshot.table("user").weight).in_place() is None


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_nothing_has_no_place(tmp_path, shape):
    write_arrays(str(tmp_path), {"user": np.empty(shape, np.float32)})
    assert reader_of(tmp_path).in_place() is None


def test_all_that_is_looked_at_is_checked(written):
    reader = reader_of(written)
    found = reader.in_place()
    found.read(0, 40_000)
    assert reader.num_unchecked_rows == 40_000 - (2 << 14)
    found.passed(40_000, len(ROWS_VD))
    assert reader.num_unchecked_rows == 0
    picked = reader_of(written)
    picked.in_place().picked(np.array([len(ROWS_VD)]))
    assert picked.num_unchecked_rows == 0


def test_a_flipped_bit_is_found(written):
    flip_bit(object_of(written, f"0/{PATH}"), 5_000_000)
    for look in (lambda found: found.read(0, 3 << 14), lambda found: found.picked(np.array([3 << 14]))):
        with pytest.raises(SnapshotError) as caught:
            look(reader_of(written).in_place())
        assert caught.value.kind is ErrorKind.CHECKSUM_MISMATCH

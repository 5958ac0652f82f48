"""Managed collision buffers in snapshots made by hand; real ones are in `tests/parity`."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, SnapshotError
from embsnap.formats.managed_collision import read_managed_collision
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.testing.snapshots import SnapshotBuilder, row_shards

EMPTY = np.iinfo(np.int64).max
PREFIX = "model/mc._managed_collision_modules"


def buffers(ids, rows, **others):
    return {"_mch_sorted_raw_ids": ids, "_mch_remapped_ids_mapping": rows, **others}


def segments(*ends):
    return np.array([*ends, *[-1] * (1025 - len(ends))])


def read(builder, tmp_path, table=None):
    return read_managed_collision(open_snapshot(str(builder.write(tmp_path / "snapshot"))), table)


def refused(builder, tmp_path, error=IncompatibleError, table=None):
    with pytest.raises(error) as caught:
        read(builder, tmp_path, table)
    return caught.value


def whole(columns, table="user", **options):
    builder = SnapshotBuilder(**options)
    for name, values in columns.items():
        builder.tensor(f"{PREFIX}.{table}.{name}", np.array(values))
    return builder


def test_an_unsharded_module(tmp_path):
    columns = buffers([-3, 5, 9, EMPTY, EMPTY], [2, 0, 1, 3, 4], _mch_counts=[7, 8, 9, 0, EMPTY])
    vocabulary = read(whole(columns | {"_mch_last_access_iter": [1, 2, 3, 0, 0]}), tmp_path)
    assert (vocabulary.ids.tolist(), vocabulary.rows_N.tolist()) == ([-3, 5, 9], [2, 0, 1])
    assert (vocabulary.counts_N.tolist(), vocabulary.last_seen_N.tolist()) == ([7, 8, 9], [1, 2, 3])
    declared = vocabulary.declared
    assert (declared.num_rows, declared.oov, declared.reserved, declared.free) == (5, (4, 5), (), ((0, 5),))


def test_a_sharded_module(tmp_path):
    """Each shard is sorted by itself, and its last row is for its own unknown ids."""
    builder = SnapshotBuilder(world_size=2)
    columns = buffers(np.array([4, 8, EMPTY, 1, EMPTY, EMPTY]), np.array([1, 0, 2, 4, 3, 5]))
    for name, values in columns.items():
        builder.sharded(f"{PREFIX}.user.{name}", values, row_shards((6,), 2))
    for rank in range(2):
        builder.tensor(f"{PREFIX}.user._output_segments_tensor", segments(0, 3, 6), rank=rank)
    vocabulary = read(builder, tmp_path)
    assert (vocabulary.ids.tolist(), vocabulary.rows_N.tolist()) == ([4, 8, 1], [1, 0, 4])
    assert (vocabulary.declared.oov, vocabulary.declared.reserved) == (None, ((2, 3), (5, 6)))


def test_which_table(tmp_path):
    builder = whole(buffers([1, EMPTY], [0, 1]))
    for name, values in buffers([2, EMPTY], [0, 1]).items():
        builder.tensor(f"{PREFIX}.item.{name}", np.array(values))
    assert read(builder, tmp_path, "item").ids.tolist() == [2]
    assert read(builder, tmp_path, f"{PREFIX}.user").ids.tolist() == [1]
    error = refused(builder, tmp_path, NotFoundError)
    assert (error.kind, error.hint) == (ErrorKind.AMBIGUOUS_TABLE, "name it with --table")
    assert refused(builder, tmp_path, NotFoundError, "usr").kind is ErrorKind.NO_SUCH_TABLE


def test_a_module_that_hashes_says_so(tmp_path):
    error = refused(whole({"_hash_zch_identities": [[1], [2]]}), tmp_path, NotFoundError)
    assert error.kind is ErrorKind.NO_SUCH_TABLE
    assert "_hash_zch_identities" in error.found


def test_copies_of_several_ranks(tmp_path):
    builder = SnapshotBuilder(world_size=2)
    for rank, entity in enumerate((1, 2)):
        for name, values in buffers([entity, EMPTY], [0, 1]).items():
            builder.tensor(f"{PREFIX}.user.{name}", np.array(values), rank=rank)
    error = refused(builder, tmp_path, SnapshotError)
    assert (error.kind, error.found) == (ErrorKind.OPAQUE_ENTRY, "ranks 0, 1")


def test_a_lost_shard(tmp_path):
    builder = SnapshotBuilder(world_size=2)
    for name, values in buffers([4, EMPTY, 1, EMPTY], [0, 1, 2, 3]).items():
        shards = row_shards((4,), 2)
        builder.sharded(f"{PREFIX}.user.{name}", np.array(values), {1: shards[1], 0: []})
    assert refused(builder, tmp_path, SnapshotError).kind is ErrorKind.BAD_COVER


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (buffers([1, EMPTY], [0, 1, 2]), "differ in length"),
        (buffers([1, 2, EMPTY], [0, 0, 2]), "does not name each row once"),
        (buffers([1, 2, EMPTY], [1, 2, 3]), "does not name each row once"),
        (buffers([1, EMPTY], [0, 1], _mch_counts=[1]), "differ in length"),
        (buffers([EMPTY, EMPTY], [0, 1]), "the vocabulary is empty"),
        (buffers([1.0, 2.0], [0, 1]), "is no such buffer"),
        (buffers([[1], [2]], [0, 1]), "is no such buffer"),
    ],
)
def test_buffers_that_cannot_be(tmp_path, columns, problem):
    error = refused(whole(columns), tmp_path)
    assert error.kind is ErrorKind.BAD_VOCABULARY
    assert problem in error.problem


def test_a_last_row_that_an_entity_holds_is_not_for_unknown_ids(tmp_path):
    vocabulary = read(whole(buffers([1, 2], [1, 0])), tmp_path)
    assert (vocabulary.declared.oov, vocabulary.declared.reserved) == (None, ())

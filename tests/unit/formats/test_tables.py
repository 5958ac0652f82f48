from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, NotFoundError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.table import Sharding, StateLayout
from embsnap.testing.snapshots import SnapshotBuilder, row_shards


def matrix(num_rows=6, dim=4):
    return np.arange(num_rows * dim, dtype=np.float32).reshape(num_rows, dim)


@pytest.fixture
def opened(tmp_path):
    """Writes what a builder holds and opens it."""
    return lambda builder: open_snapshot(str(builder.write(tmp_path)))


def weight(table, prefix="model/ebc"):
    return f"{prefix}.embedding_bags.{table}.weight"


class TestNames:
    @pytest.fixture
    def snapshot(self, opened):
        builder = SnapshotBuilder()
        for name in ("user", "user_v2", "us"):
            builder.tensor(weight(name), matrix())
        builder.tensor("model/tower.embeddings.item.weight", matrix())
        builder.tensor("model/dense.weight", matrix(2, 2))
        builder.tensor("model/bias", np.zeros(3, np.float32))
        return opened(builder)

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("user", weight("user")),
            ("us", weight("us")),
            ("ebc.embedding_bags.user.weight", weight("user")),
            (weight("user_v2"), weight("user_v2")),
            (f"0/{weight('user')}", weight("user")),
            ("item", "model/tower.embeddings.item.weight"),
        ],
    )
    def test_each_way_to_name_a_table(self, snapshot, name, found):
        assert snapshot.table(name).weight.path == found

    def test_any_matrix_has_a_full_path(self, snapshot):
        table = snapshot.table("0/model/dense.weight")
        assert (table.name, table.weight.shape, table.state) == ("model/dense.weight", (2, 2), ())

    @pytest.mark.parametrize(
        "name", ["use", "embedding_bags", "model/dense.weight", "0/model/bias", "1/model/dense.weight", ""]
    )
    def test_part_of_a_name_names_nothing(self, snapshot, name):
        with pytest.raises(NotFoundError) as caught:
            snapshot.table(name)
        assert caught.value.kind is ErrorKind.NO_SUCH_TABLE

    def test_tables_come_in_the_order_of_the_manifest(self, snapshot):
        assert [table.name for table in snapshot.tables()] == ["user", "user_v2", "us", "item"]

    def test_the_error_without_tables_says_so(self, opened):
        with pytest.raises(NotFoundError, match="of which there are none"):
            opened(SnapshotBuilder()).table("user")


class TestSharding:
    def test_column_wise_on_one_rank(self, opened):
        builder = SnapshotBuilder()
        builder.sharded(weight("t"), matrix(), {0: [((0, 0), (6, 1)), ((0, 1), (6, 3))]})
        assert opened(builder).table("t").sharding is Sharding.COLUMN_WISE

    def test_pieces_of_one_shard_are_no_row_wise_table(self, opened):
        builder = SnapshotBuilder(world_size=2)
        builder.sharded(weight("t"), matrix(), {0: [((0, 0), (2, 4)), ((2, 0), (4, 4))], 1: []})
        table = opened(builder).table("t")
        assert (table.sharding, table.ranks) == (Sharding.TABLE_WISE, (0,))

    def test_rows_and_columns(self, opened):
        builder = SnapshotBuilder(world_size=2)
        boxes = {0: [((0, 0), (3, 2)), ((0, 2), (3, 2))], 1: [((3, 0), (3, 2)), ((3, 2), (3, 2))]}
        builder.sharded(weight("t"), matrix(), boxes)
        assert opened(builder).table("t").sharding is Sharding.GRID

    def test_a_tensor_on_one_of_two_ranks(self, opened):
        builder = SnapshotBuilder(world_size=2)
        builder.tensor(weight("t"), matrix(), rank=1)
        builder.value("extra_state/step", 1)
        table = opened(builder).table("t")
        assert (table.sharding, table.ranks) == (Sharding.TABLE_WISE, (1,))

    def test_an_empty_table(self, opened):
        builder = SnapshotBuilder(batched=False)
        builder.tensor(weight("t"), matrix(0))
        table = opened(builder).table("t")
        assert (table.num_embeddings, table.embedding_dim, table.weight.pieces) == (0, 4, ())

    def test_chunks_of_which_there_are_none(self, opened):
        builder = SnapshotBuilder()
        builder.chunked(weight("t"), matrix(0), num_rows=1)
        array = opened(builder).table("t").weight
        assert (array.shape, array.dtype.name, array.pieces) == ((0, 4), "float32", ())


class TestState:
    def states(self, snapshot, name="t"):
        return [(state.name, state.layout) for state in snapshot.table(name).state]

    @pytest.mark.parametrize(
        ("array", "layout"),
        [
            (matrix(), StateLayout.ELEMENT_WISE),
            (np.zeros(6, np.float32), StateLayout.ROW_WISE),
            (np.zeros((6, 1), np.float32), StateLayout.ROW_WISE),
            (np.zeros((), np.float32), StateLayout.SINGLE),
            (np.zeros(1, np.int64), StateLayout.SINGLE),
            (np.zeros((2, 2), np.float32), StateLayout.OTHER),
            (np.zeros(12, np.float32), StateLayout.OTHER),
        ],
    )
    def test_layouts(self, opened, array, layout):
        builder = SnapshotBuilder()
        builder.tensor(weight("t"), matrix())
        builder.tensor("optim/state/ebc.embedding_bags.t.weight/t.momentum1", array)
        assert self.states(opened(builder)) == [("momentum1", layout)]

    def test_one_run_of_rows_for_each_column_shard(self, opened):
        builder = SnapshotBuilder(world_size=2)
        builder.sharded(weight("t"), matrix(), {0: [((0, 0), (6, 2))], 1: [((0, 2), (6, 2))]})
        momentum = np.arange(12, dtype=np.float32)
        builder.sharded("optim/state/ebc.embedding_bags.t.weight/t.momentum1", momentum, row_shards((12,), 2))
        assert self.states(opened(builder)) == [("momentum1", StateLayout.ROW_WISE_PER_COLUMN_SHARD)]

    @pytest.mark.parametrize("prefix", ["", "fused_opt.", "a.b."])
    def test_prefixes_of_combined_optimizers(self, opened, prefix):
        builder = SnapshotBuilder()
        builder.tensor(weight("t"), matrix())
        builder.tensor(f"optim/state/{prefix}ebc.embedding_bags.t.weight/exp_avg", matrix())
        snapshot = opened(builder)
        assert self.states(snapshot) == [("exp_avg", StateLayout.ELEMENT_WISE)]
        assert snapshot.table("t").state[0].array.path == f"optim/state/{prefix}ebc.embedding_bags.t.weight/exp_avg"

    @pytest.mark.parametrize("ending", ["ebc.embedding_bags.t.weight", "embedding_bags.t.weight"])
    def test_an_optimizer_of_a_part_of_the_model(self, opened, ending):
        builder = SnapshotBuilder()
        builder.tensor(weight("t", "model/large.ebc"), matrix())
        builder.tensor(f"optim/state/{ending}/t.momentum1", np.zeros(6, np.float32))
        snapshot = opened(builder)
        assert snapshot.findings == ()
        assert self.states(snapshot) == [("momentum1", StateLayout.ROW_WISE)]

    @pytest.mark.parametrize("keys", [("a.ebc", "b.ebc"), ("a.ebc",)], ids=["two tables", "two states"])
    def test_a_part_that_may_be_of_several_is_of_none(self, opened, keys):
        builder = SnapshotBuilder()
        for key in keys:
            builder.tensor(weight("t", f"model/{key}"), matrix())
        builder.tensor("optim/state/ebc.embedding_bags.t.weight/t.momentum1", np.zeros(6, np.float32))
        if len(keys) == 1:
            builder.tensor("optim/state/a.ebc.embedding_bags.t.weight/t.momentum1", np.ones(6, np.float32))
        (finding,) = opened(builder).findings
        assert (finding.kind, finding.count) == ("unattached-state", 1)

    def test_state_goes_to_the_longest_key_that_fits(self, opened):
        builder = SnapshotBuilder()
        builder.tensor(weight("t"), matrix())
        builder.tensor(weight("t", "model/big.ebc"), matrix(8))
        builder.tensor("optim/state/big.ebc.embedding_bags.t.weight/t.momentum1", np.zeros(8, np.float32))
        snapshot = opened(builder)
        assert self.states(snapshot, "big.ebc.embedding_bags.t.weight") == [("momentum1", StateLayout.ROW_WISE)]
        assert self.states(snapshot, "ebc.embedding_bags.t.weight") == []

    @pytest.mark.parametrize(
        ("app_keys", "optimizers"),
        [(["student", "teacher"], ["optim"]), (["model", "teacher"], ["optim", "teacher_optim"])],
        ids=["one optimizer", "two optimizers"],
    )
    def test_state_that_fits_two_tables_fits_none(self, opened, app_keys, optimizers):
        builder = SnapshotBuilder()
        for app_key in app_keys:
            builder.tensor(weight("t", f"{app_key}/ebc"), matrix())
        for optimizer in optimizers:
            builder.tensor(f"{optimizer}/state/ebc.embedding_bags.t.weight/t.momentum1", np.zeros(6, np.float32))
        (finding,) = opened(builder).findings
        assert (finding.kind, finding.count) == ("unattached-state", len(optimizers))

    def test_the_only_state_is_that_of_the_model(self, opened):
        builder = SnapshotBuilder()
        for app_key in ("ema", "model"):
            builder.tensor(weight("t", f"{app_key}/ebc"), matrix())
        builder.tensor("optim/state/ebc.embedding_bags.t.weight/t.momentum1", np.zeros(6, np.float32))
        snapshot = opened(builder)
        assert snapshot.findings == ()
        assert [len(snapshot.table(f"{key}/ebc.embedding_bags.t.weight").state) for key in ("ema", "model")] == [0, 1]

    def test_a_table_whose_name_is_part_of_anothers_keeps_its_own(self, opened):
        builder = SnapshotBuilder()
        for name, num_rows in (("user", 6), ("user_v2", 8)):
            builder.tensor(weight(name), matrix(num_rows))
            state = np.zeros(num_rows, np.float32)
            builder.tensor(f"optim/state/ebc.embedding_bags.{name}.weight/{name}.momentum1", state)
        snapshot = opened(builder)
        assert [snapshot.table(name).state[0].array.shape for name in ("user", "user_v2")] == [(6,), (8,)]

    def test_broken_state_can_be_left_aside(self, opened):
        builder = SnapshotBuilder(world_size=2)
        builder.sharded(weight("t"), matrix(), row_shards((6, 4), 2))
        state = "optim/state/ebc.embedding_bags.t.weight/exp_avg"
        builder.tensor(state, matrix(5), rank=0)
        snapshot = opened(builder)
        with pytest.raises(Exception, match="does not fit the shards") as caught:
            snapshot.table("t")
        assert caught.value.kind is ErrorKind.BAD_COVER
        assert snapshot.table("t", with_state=False).state == ()


class TestLocalDenseState:
    """Plain tensors on each rank, beside a sharded weight."""

    STATE = "optim/state/ebc.embedding_bags.t.weight/exp_avg"

    def read(self, snapshot):
        (state,) = snapshot.table("t").state
        reader = snapshot.reader(state.array)
        rows_ND = np.empty((reader.num_rows, reader.dim), reader.dtype)
        reader.read(0, reader.num_rows, rows_ND)
        return state.layout, rows_ND.reshape(state.array.shape)

    @pytest.mark.parametrize("num_chunk_rows", [None, 2])
    def test_row_wise(self, opened, num_chunk_rows):
        builder = SnapshotBuilder(world_size=2, batched=num_chunk_rows is None)
        builder.sharded(weight("t"), matrix(), row_shards((6, 4), 2))
        for rank in range(2):
            part = matrix()[rank * 3 : rank * 3 + 3] + 100
            if num_chunk_rows is None:
                builder.tensor(self.STATE, part, rank=rank)
            else:
                builder.chunked(self.STATE, part, num_rows=num_chunk_rows, rank=rank)
        layout, array = self.read(opened(builder))
        assert layout is StateLayout.ELEMENT_WISE
        np.testing.assert_array_equal(array, matrix() + 100)

    def test_one_value_per_row(self, opened):
        builder = SnapshotBuilder(world_size=2)
        builder.sharded(weight("t"), matrix(), row_shards((6, 4), 2))
        for rank in range(2):
            builder.tensor(self.STATE, np.arange(3, dtype=np.float32) + 3 * rank, rank=rank)
        layout, array = self.read(opened(builder))
        assert (layout, array.tolist()) == (StateLayout.ROW_WISE, [0, 1, 2, 3, 4, 5])

    @pytest.mark.parametrize("num_chunk_rows", [12, 5])
    def test_two_column_shards_stacked_on_one_rank(self, opened, num_chunk_rows):
        builder = SnapshotBuilder()
        builder.sharded(weight("t"), matrix(), {0: [((0, 2), (6, 2)), ((0, 0), (6, 2))]})
        stacked = np.concatenate([matrix()[:, 2:], matrix()[:, :2]])
        builder.chunked(self.STATE, stacked, num_rows=num_chunk_rows)
        layout, array = self.read(opened(builder))
        assert layout is StateLayout.ELEMENT_WISE
        np.testing.assert_array_equal(array, matrix())

    def test_one_value_per_row_of_each_column_shard(self, opened):
        builder = SnapshotBuilder(world_size=2)
        builder.sharded(weight("t"), matrix(), {0: [((0, 2), (6, 2))], 1: [((0, 0), (6, 2))]})
        for rank in range(2):
            builder.tensor(self.STATE, np.full(6, rank, np.float32), rank=rank)
        layout, array = self.read(opened(builder))
        assert (layout, array.tolist()) == (StateLayout.ROW_WISE_PER_COLUMN_SHARD, [1] * 6 + [0] * 6)

    def test_shards_that_only_divide_rows_are_one(self, opened):
        builder = SnapshotBuilder(world_size=2)
        boxes = {0: [((0, 0), (2, 4)), ((2, 0), (1, 4))], 1: [((3, 0), (3, 4))]}
        builder.sharded(weight("t"), matrix(), boxes)
        for rank in range(2):
            builder.tensor(self.STATE, matrix()[rank * 3 : rank * 3 + 3], rank=rank)
        np.testing.assert_array_equal(self.read(opened(builder))[1], matrix())

    @pytest.mark.parametrize(
        ("boxes", "share", "layout"),
        [
            (row_shards((6, 4), 2), matrix(3), StateLayout.ELEMENT_WISE),
            (row_shards((6, 4), 2), np.arange(3, dtype=np.float32), StateLayout.ROW_WISE),
            ({0: [], 1: [((0, 2), (6, 2))], 2: [((0, 0), (6, 2))]}, matrix(6, 2), StateLayout.ELEMENT_WISE),
        ],
    )
    def test_shares_that_are_the_same_are_stored_once(self, opened, boxes, share, layout):
        """As before a first step, when all of Adagrad's sums are what they start from."""
        builder = SnapshotBuilder(world_size=len(boxes))
        builder.sharded(weight("t"), matrix(), boxes)
        builder.tensor(self.STATE, share, replicated=True)
        found, array = self.read(opened(builder))
        assert found is layout
        np.testing.assert_array_equal(array, np.concatenate([share, share], axis=int(share.shape == (6, 2))))

    @pytest.mark.parametrize("shape", [(2, 4), (3, 2), (6, 2)])
    def test_a_share_of_another_shape_than_each_ranks_is_no_share(self, opened, shape):
        builder = SnapshotBuilder(world_size=2)
        builder.sharded(weight("t"), matrix(), row_shards((6, 4), 2))
        builder.tensor(self.STATE, matrix(*shape), replicated=True)
        assert [state.layout for state in opened(builder).table("t").state] == [StateLayout.OTHER]

    def test_a_step_counter_on_each_rank(self, opened):
        builder = SnapshotBuilder(world_size=2)
        builder.sharded(weight("t"), matrix(), row_shards((6, 4), 2))
        for rank in range(2):
            builder.tensor(self.STATE.replace("exp_avg", "step"), np.array([5.0], np.float32), rank=rank)
        assert [state.layout for state in opened(builder).table("t").state] == [StateLayout.SINGLE]

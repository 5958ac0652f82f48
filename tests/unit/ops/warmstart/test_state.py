"""Optimizer state follows the rows."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.model.manifest import ShardedTensorEntry, TensorEntry
from embsnap.testing.tables import read_array

STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight"


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3)], ids=["[V]", "[V, 1]", "[V, D]"])
def test_state_of_carried_rows_moves_and_that_of_others_is_zero(days, make_rows, shape) -> None:
    state = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    days.old(make_rows(4, 3), [10, 11, 12, 13], **{f"{STATE}/user.momentum1": state})
    days.new([13, 99, 10])
    result, snapshot = days.run(5)
    expected = np.zeros((5, *shape[1:]), np.float32)
    expected[0], expected[2] = state[3], state[0]
    np.testing.assert_array_equal(read_array(snapshot, f"{STATE}/user.momentum1"), expected)
    assert result.tables[0].optimizer_state == (f"{STATE}/user.momentum1",)
    assert isinstance(snapshot.manifest.entries[f"0/{STATE}/user.momentum1"], TensorEntry)


def test_several_states_and_a_step(days, make_rows) -> None:
    first, second = make_rows(2, 3), make_rows(2, 3) + 1
    days.old(
        make_rows(2, 3),
        [10, 11],
        **{
            f"{STATE}/user.momentum1": first,
            f"{STATE}/user.exp_avg_sq": second,
            f"{STATE}/user.iter": np.array([17], np.int64),
        },
    )
    days.new([11, 10])
    _, snapshot = days.run(2)
    np.testing.assert_array_equal(read_array(snapshot, f"{STATE}/user.momentum1"), first[::-1])
    np.testing.assert_array_equal(read_array(snapshot, f"{STATE}/user.exp_avg_sq"), second[::-1])
    np.testing.assert_array_equal(read_array(snapshot, f"{STATE}/user.iter"), [17])


def test_state_is_renamed_with_its_table_and_prefix(days, make_rows) -> None:
    days.old(make_rows(2, 3), [10, 11], **{f"{STATE}/user.momentum1": np.ones(2, np.float32)})
    days.new([10, 11])
    days.table = {"name": "member"}
    _, snapshot = days.run(2, prefix="model/net.large.ebc")
    key = "net.large.ebc.embedding_bags.member.weight"
    assert f"0/model/{key}" in snapshot.manifest.entries
    assert f"0/optimizer/state/fused_opt.{key}/member.momentum1" in snapshot.manifest.entries
    assert snapshot.table("member").state[0].name == "momentum1"


def test_state_of_an_optimizer_of_a_part_of_the_model(days, make_rows) -> None:
    part = "optimizer/state/embedding_bags"
    days.old(make_rows(2, 3), [10, 11], **{f"{part}.user.weight/user.momentum1": np.ones(2, np.float32)})
    days.new([10, 11])
    days.table = {"name": "member"}
    _, snapshot = days.run(2)
    assert f"0/{part}.member.weight/member.momentum1" in snapshot.manifest.entries
    assert snapshot.table("member").state[0].name == "momentum1"


def test_sharded_for_readers_that_can(days, make_rows) -> None:
    days.old(make_rows(2, 3), [10, 11], **{f"{STATE}/user.momentum1": np.ones(2, np.float32)})
    days.new([10, 11])
    result, snapshot = days.run(2, optimizer_state="sharded")
    assert isinstance(snapshot.manifest.entries[f"0/{STATE}/user.momentum1"], ShardedTensorEntry)
    assert [note.kind for note in result.notes] == ["sharded-state"]
    assert days.run(2)[0].notes == ()


@pytest.mark.parametrize(("table", "form"), [({"optimizer_state": "reset"}, "tensor"), ({}, "drop")])
def test_state_that_is_not_wanted_is_not_written(days, make_rows, table, form) -> None:
    days.old(make_rows(2, 3), [10, 11], **{f"{STATE}/user.momentum1": np.ones(2, np.float32)})
    days.new([10, 11])
    days.table = table
    _, snapshot = days.run(2, optimizer_state=form)
    assert not [path for path in snapshot.manifest.entries if "optimizer" in path]


def test_state_of_no_known_shape_is_refused_unless_reset(days, make_rows) -> None:
    days.old(make_rows(4, 3), [10, 11, 12, 13], **{f"{STATE}/user.momentum1": np.ones((7, 2), np.float32)})
    days.new([10, 11])
    with pytest.raises(IncompatibleError) as caught:
        days.run(2)
    assert caught.value.kind is ErrorKind.SHAPE_MISMATCH
    assert "optimizer_state: reset" in caught.value.hint
    days.table = {"optimizer_state": "reset"}
    days.run(2)

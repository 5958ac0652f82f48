"""What a plan costs, and what it says of tables that are gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import embsnap
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.migrate import figures
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

NUM_ROWS = 100_000


def write_source(root, name):
    write_arrays(f"{root}/source", {name: np.ones((NUM_ROWS, 16), np.float32)})
    write_vocabulary(make_vocabulary(list(range(NUM_ROWS))), f"{root}/old.parquet")


def planned(root, order):
    write_vocabulary(make_vocabulary(order.tolist()), f"{root}/new.parquet")
    begun = embsnap.migration(f"{root}/source").vocab("user", f"{root}/old.parquet")
    return begun.revocab("user", f"{root}/new.parquet").plan()


def test_rows_that_move_far_meet_all_parts_of_an_object_at_once(tmp_path):
    write_source(tmp_path, "user")
    sampled_N = np.arange(NUM_ROWS // 20)
    (near,) = planned(tmp_path, np.arange(NUM_ROWS)).changed()
    assert 0.04 < figures._share_met(near.rows, sampled_N) < 0.08
    (tmp_path / "new.parquet").unlink()
    (far,) = planned(tmp_path, np.random.default_rng(0).permutation(NUM_ROWS)).changed()
    assert figures._share_met(far.rows, sampled_N) == 1


def test_a_run_takes_no_less_than_its_plan(tmp_path):
    write_source(tmp_path, "user")
    plan = planned(tmp_path, np.arange(NUM_ROWS)[::-1])
    assert plan.result().estimated_s > plan.seconds > 0


def test_merged_tables_are_not_said_to_be_gone(tmp_path):
    write_arrays(f"{tmp_path}/source", {name: np.ones((4, 2), np.float32) for name in ("us", "eu", "old")})
    for first, name in ((0, "us"), (4, "eu")):
        write_vocabulary(make_vocabulary(list(range(first, first + 4))), f"{tmp_path}/{name}.parquet")
    begun = embsnap.migration(f"{tmp_path}/source").drop("old")
    for name in ("us", "eu"):
        begun = begun.vocab(name, f"{tmp_path}/{name}.parquet")
    assert begun.merge(["us", "eu"], into="all").write(f"{tmp_path}/out").dropped == ("old",)


def test_what_is_dropped_is_what_nothing_is_taken_of(tmp_path: Path) -> None:
    rows = np.ones((6, 2), np.float32)
    builder = SnapshotBuilder(world_size=2)
    for name in ("a", "b"):
        builder.sharded(f"model/ebc.embedding_bags.{name}.weight", rows, row_shards(rows.shape, 2))
    gap = {0: [((0, 0), (2, 2))], 1: [((4, 0), (2, 2))]}
    builder.sharded("model/ebc.embedding_bags.torn.weight", rows, gap)
    builder.write(tmp_path / "old")
    write_arrays(f"{tmp_path}/other", {"b": rows})
    begun = embsnap.migration(f"{tmp_path}/old").drop("b")
    assert begun.plan().result().dropped == ("b",)
    assert begun.copy("b", "c", source=f"{tmp_path}/other").plan().result().dropped == ("b",)
    assert embsnap.migration(f"{tmp_path}/old").copy("b", "c").drop("b").plan().result().dropped == ()

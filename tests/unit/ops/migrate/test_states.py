"""What becomes of optimizer state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import embsnap
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import read_array

RNG = np.random.default_rng(0)
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"


def test_states_of_column_shards_are_folded_by_their_widths(tmp_path: Path) -> None:
    gradients = RNG.normal(size=(7, 6)).astype(np.float32)
    cuts = ((0, 4), (4, 6))
    runs = [np.square(gradients[:, start:end]).mean(axis=1) for start, end in cuts]
    builder = SnapshotBuilder(world_size=2)
    shards = {rank: [((0, start), (7, end - start))] for rank, (start, end) in enumerate(cuts)}
    builder.sharded("model/ebc.embedding_bags.user.weight", gradients, shards)
    builder.sharded(STATE, np.concatenate(runs), {rank: [((7 * rank,), (7,))] for rank in range(2)})
    builder.write(tmp_path / "old")
    embsnap.migration(f"{tmp_path}/old").shard(placing="row-wise").write(f"{tmp_path}/new")
    np.testing.assert_allclose(read_array(f"{tmp_path}/new", STATE), np.square(gradients).mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    "give",
    [
        lambda begun: begun.copy("user", "again").rename({"user": "member"}),
        lambda begun: begun.rename({"user": "member"}).copy("member", "again"),
        lambda begun: begun.copy("user", "member").rename({"user": "again", "member": "user"}),
    ],
)
def test_state_by_number_stays_with_the_table_beside_its_copy(tmp_path: Path, give) -> None:
    rows, state = RNG.normal(size=(2, 7, 6)).astype(np.float32)
    builder = SnapshotBuilder()
    builder.tensor("model/ebc.embedding_bags.user.weight", rows)
    builder.tensor("optimizer/state/0/exp_avg", state)
    builder.value("optimizer/param_groups/0/params/0", 0)
    builder.value("optimizer/param_groups/0/param_names/0", "ebc.embedding_bags.user.weight")
    builder.write(tmp_path / "old")
    give(embsnap.migration(f"{tmp_path}/old")).write(f"{tmp_path}/new")
    new = open_snapshot(f"{tmp_path}/new")
    for table in new.tables():
        [found] = table.state
        np.testing.assert_array_equal(read_array(new, found.array), state)
    assert len(new.tables()) == 2

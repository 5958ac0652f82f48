"""What becomes of optimizer state."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import embsnap
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

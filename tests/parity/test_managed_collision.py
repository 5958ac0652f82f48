"""What torchrec's managed collision modules learned, and torchsnapshot saved, is read as the vocabulary it is."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchrec")
pytest.importorskip("torchsnapshot")

from torchrec import EmbeddingBagConfig, KeyedJaggedTensor  # noqa: E402
from torchrec.modules.mc_modules import (  # noqa: E402
    DistanceLFU_EvictionPolicy,
    LFU_EvictionPolicy,
    LRU_EvictionPolicy,
    ManagedCollisionCollection,
    MCHManagedCollisionModule,
)
from torchsnapshot import Snapshot  # noqa: E402

from embsnap.formats.managed_collision import read_managed_collision  # noqa: E402
from embsnap.formats.torchsnapshot.snapshot import open_snapshot  # noqa: E402
from embsnap.formats.vocabulary import read_vocabulary  # noqa: E402

NUM_ROWS = 12
POLICIES = {
    "user": (LFU_EvictionPolicy, {"_mch_counts"}),
    "item": (LRU_EvictionPolicy, {"_mch_last_access_iter"}),
    "query": (DistanceLFU_EvictionPolicy, {"_mch_counts", "_mch_last_access_iter"}),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A collection that has seen more ids than it has room for, and its snapshot."""
    torch.manual_seed(0)
    modules = {
        table: MCHManagedCollisionModule(
            zch_size=NUM_ROWS, device=torch.device("cpu"), eviction_policy=policy(), eviction_interval=2
        )
        for table, (policy, _) in POLICIES.items()
    }
    configs = [
        EmbeddingBagConfig(name=table, embedding_dim=4, num_embeddings=NUM_ROWS, feature_names=[table])
        for table in POLICIES
    ]
    collection = ManagedCollisionCollection(modules, configs)
    for _ in range(9):
        values = torch.randint(-(2**62), 2**62, (3 * 8,)).abs() % 40 + 1000
        lengths = torch.full((3 * 4,), 2)
        collection(KeyedJaggedTensor(keys=list(POLICIES), values=values, lengths=lengths))
    path = tmp_path_factory.mktemp("zch") / "snapshot"
    Snapshot.take(str(path), {"model": collection})
    return collection.eval(), str(path)


@pytest.mark.parametrize("table", POLICIES)
def test_each_id_has_the_row_that_the_module_gives_it(saved, table):
    collection, path = saved
    vocabulary = read_managed_collision(open_snapshot(path), table)
    module = collection._managed_collision_modules[table]
    asked = torch.arange(1000, 1040)
    features = {table: torch_jagged(asked)}
    rows = module.remap(features)[table].values()
    known = dict(zip(vocabulary.ids.tolist(), vocabulary.rows_N.tolist(), strict=True))
    assert known
    assert rows.tolist() == [known.get(int(entity), NUM_ROWS - 1) for entity in asked]
    assert vocabulary.declared.oov == (NUM_ROWS - 1, NUM_ROWS)
    _, kept = POLICIES[table]
    assert {name for name in ("_mch_counts", "_mch_last_access_iter") if hasattr(module, name)} == kept
    assert (vocabulary.counts_N is not None) is ("_mch_counts" in kept)
    assert (vocabulary.last_seen_N is not None) is ("_mch_last_access_iter" in kept)
    if vocabulary.counts_N is not None:
        by_id = dict(zip(module._mch_sorted_raw_ids.tolist(), module._mch_counts.tolist(), strict=True))
        assert vocabulary.counts_N.tolist() == [by_id[entity] for entity in vocabulary.ids.tolist()]


def torch_jagged(values):
    from torchrec import JaggedTensor

    return JaggedTensor(values=values, lengths=torch.ones(len(values), dtype=torch.int64))


def test_as_typed(saved, embsnap, tmp_path):
    _, path = saved
    run = embsnap("vocab", "convert", path, "--table", "user", "--out", tmp_path / "user.parquet")
    assert run.exit_code == 0, run.stderr
    assert f"[{NUM_ROWS - 1}, {NUM_ROWS}) for unknown ids" in run.stdout
    written, read = read_vocabulary(str(tmp_path / "user.parquet")), read_managed_collision(open_snapshot(path), "user")
    np.testing.assert_array_equal(written.ids, read.ids)
    np.testing.assert_array_equal(written.rows_N, read.rows_N)
    np.testing.assert_array_equal(written.counts_N, read.counts_N)
    assert written.declared.oov == (NUM_ROWS - 1, NUM_ROWS)
    run = embsnap("vocab", "convert", path, "--out", tmp_path / "some.parquet")
    assert run.exit_code == 3
    assert "--table" in run.stderr

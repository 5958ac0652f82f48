"""A table in a bucket whose rows move far is fetched once, in the order in which it is stored, its state with it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import embsnap
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.migrate.plan import MigrationOptions
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary
from tests.servers.fault_proxy import Request
from tests.servers.gcs import FaultyBucket

NUM_ROWS = 20_000
ROWS = np.random.default_rng(0).normal(size=(NUM_ROWS, 64)).astype(np.float32)
IDS = np.random.default_rng(1).permutation(NUM_ROWS + 50)[:NUM_ROWS]
STATE = "optimizer/state/o.ebc.embedding_bags.user.weight/user.momentum1"
MOMENTUM = np.arange(NUM_ROWS, dtype=np.float32)
BLOCK_BYTES = 64 << 10
"""Of the small budget, read at a time."""
OBJECT = re.compile(r"/o/source/embsnap/[^/]+/\d+\?.*alt=media")


@pytest.fixture
def source(gcs_proxy: FaultyBucket, tmp_path: Path) -> str:
    """A table in the bucket; its vocabularies are on disk."""
    write_arrays(str(tmp_path / "source"), {"user": ROWS}, {STATE: MOMENTUM})
    write_vocabulary(make_vocabulary(list(range(NUM_ROWS))), f"{tmp_path}/old.parquet")
    write_vocabulary(make_vocabulary(IDS.tolist()), f"{tmp_path}/new.parquet")
    return gcs_proxy.upload(tmp_path / "source", "source")


def fetched_of(bucket: FaultyBucket) -> list[Request]:
    """Requests for bytes of the source's objects."""
    return [request for request in bucket.log if OBJECT.search(request.path)]


@pytest.mark.parametrize("placing", ["row-wise", "column-wise"])
@pytest.mark.parametrize("budget_bytes", [64 << 20, 1 << 20], ids=["fits", "is spilled"])
def test_each_byte_is_fetched_once(
    gcs_proxy: FaultyBucket, source: str, tmp_path: Path, placing: str, budget_bytes: int
) -> None:
    begun = embsnap.migration(source, options=MigrationOptions(memory_budget=budget_bytes))
    moved = begun.vocab("user", f"{tmp_path}/old.parquet").revocab(
        "user", f"{tmp_path}/new.parquet", initializer="zeros"
    )
    plan = moved.shard(placing=placing, world_size=2).plan()
    gcs_proxy.proxy.clear()
    plan.result()
    assert len(fetched_of(gcs_proxy)) < 20
    gcs_proxy.proxy.clear()
    plan.apply(str(tmp_path / "out"))
    fetched = fetched_of(gcs_proxy)
    assert sum(request.num_sent for request in fetched) <= 1.05 * (ROWS.nbytes + MOMENTUM.nbytes)
    assert len(fetched) <= (12 if budget_bytes > ROWS.nbytes else ROWS.nbytes // BLOCK_BYTES + 3)
    expected = np.where((IDS < NUM_ROWS)[:, None], ROWS[np.minimum(IDS, NUM_ROWS - 1)], 0)
    np.testing.assert_array_equal(read_array(str(tmp_path / "out"), "user"), expected)
    state = np.where(IDS < NUM_ROWS, MOMENTUM[np.minimum(IDS, NUM_ROWS - 1)], 0)
    np.testing.assert_array_equal(read_array(str(tmp_path / "out"), STATE), state)

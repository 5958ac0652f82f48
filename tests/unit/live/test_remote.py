"""Live models filled from storage that cannot be mapped: in the order of storage, without temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from embsnap.config.embedding import LargeEmbeddingsConfig, Mode
from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.formats.torchsnapshot import snapshot as snapshots
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.live.arrays import as_array
from embsnap.live.modules import LargeEmbeddings
from embsnap.live.shared_write import write_together
from embsnap.live.warm_start import build_and_write, warm_start
from embsnap.ops.warmstart.plan import WarmstartOptions, plan_warmstart
from embsnap.storage.uri import open_store
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import read_array
from embsnap.testing.vocabularies import make_vocabulary

OLD, NEW, DIM = 3000, 3100, 8
KEY = "ebc.embedding_bags.user.weight"


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((OLD, DIM)).astype(np.float32)


@pytest.fixture(params=["rows", "columns"])
def root(request, tmp_path, rows) -> str:
    """A table cut over four ranks, and both days' vocabularies."""
    columns = {rank: [((0, 2 * rank), (OLD, 2))] for rank in range(4)}
    builder = SnapshotBuilder(world_size=4)
    builder.sharded(f"model/{KEY}", rows, row_shards(rows.shape, 4) if request.param == "rows" else columns)
    builder.write(tmp_path / "old")
    write_vocabulary(make_vocabulary(list(range(OLD))), f"{tmp_path}/old.parquet")
    order = np.random.default_rng(1).permutation(NEW)
    write_vocabulary(make_vocabulary(order.tolist()), f"{tmp_path}/new.parquet")
    return str(tmp_path)


def parse(root: str, **table: object) -> LargeEmbeddingsConfig:
    old = {"emb_name": "user", "embedding_snapshot_uri": f"{root}/old", "vocab": f"{root}/old.parquet"}
    fields = {"name": "user", "num_embeddings": NEW, "embedding_dim": DIM, "vocab": f"{root}/new.parquet"}
    pretrained = old | dict(table.pop("pretrained", {}))
    config = {"tables": [fields | {"pretrained": pretrained} | table], "tables_to_log": ["user"]}
    return LargeEmbeddingsConfig.model_validate(config)


@pytest.fixture
def far(monkeypatch, tmp_path) -> dict[str, CountingStore]:
    """Snapshots are opened in stores that cannot map, by URI; whoever makes a temporary file fails."""
    stores: dict[str, CountingStore] = {}
    monkeypatch.setattr(
        snapshots,
        "open_store",
        lambda uri, options=None: stores.setdefault(uri, CountingStore(open_store(uri, options), maps=False)),
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    return stores


@pytest.mark.parametrize("narrow", [{}, {"data_type": "bf16", "pretrained": {"cast": True}}], ids=["fp32", "bf16"])
def test_a_model_is_filled_in_one_pass_over_the_objects(root, rows, narrow, request):
    config = parse(root, **narrow)
    near = build_and_write(config, plan_warmstart(config), f"{root}/near", device="cpu", mode=Mode.TRAIN)
    far = request.getfixturevalue("far")
    found = build_and_write(config, plan_warmstart(config), f"{root}/far", device="cpu", mode=Mode.TRAIN)
    store = far[f"{root}/old"]
    bytes_of_rows = sum(number for name, number in store.bytes_read.items() if not name.startswith("."))
    assert rows.nbytes <= bytes_of_rows < 1.1 * rows.nbytes  # what is beyond is read by the lookup
    assert found.tables[0].mean_norm == near.tables[0].mean_norm
    tables = [read_array(f"{root}/{side}", "user") for side in ("near", "far")]
    np.testing.assert_array_equal(tables[0].view(np.uint8), tables[1].view(np.uint8))


def test_what_a_rank_writes_is_fetched_once(root, rows, far, monkeypatch, tmp_path):
    """Without a model, in two blocks; its rows follow a row map, so that each block needs rows of all old objects."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = parse(root)
    options = WarmstartOptions(threads=1, memory_budget=256 << 10)
    write_together(lambda share: (config, plan_warmstart(config, options, share=share)), f"{root}/together", live=None)
    store = far[f"{root}/old"]
    assert store.ranges <= 4  # one for each old shard, not thousands for rows that lie apart
    order = np.random.default_rng(1).permutation(NEW)
    table = read_array(open_snapshot(f"{root}/together"), "user")
    np.testing.assert_array_equal(table[order < OLD], rows[order[order < OLD]])


def test_a_cast_that_overflows_names_row_and_column(root, rows, far):
    rows[7, 5] = 1e30
    builder = SnapshotBuilder()
    builder.tensor(f"model/{KEY}", rows)
    builder.write(Path(root) / "large")
    wide = {"data_type": "fp16", "pretrained": {"cast": True, "embedding_snapshot_uri": f"{root}/large"}}
    config = parse(root, **wide)
    place = np.random.default_rng(1).permutation(NEW).tolist().index(7)
    with pytest.raises(EmbsnapError, match=f"new row {place}, column 5") as raised:
        build_and_write(config, plan_warmstart(config), f"{root}/out", device="cpu", mode=Mode.TRAIN)
    assert raised.value.kind is ErrorKind.CAST_OVERFLOW


def test_rows_by_position(root, rows, far):
    config = parse(root, num_embeddings=OLD, vocab=None, pretrained={"vocab": None, "by_position": True})
    model = LargeEmbeddings(config)
    warm_start(model, config)
    np.testing.assert_array_equal(as_array(model.weight("user")), rows)


def test_a_snapshot_that_is_replaced_meanwhile(root, far):
    config = parse(root)

    class Replacing:
        def start(self, task, total, unit="B"):
            if task == "filling user":
                with open(f"{root}/old/.snapshot_metadata", "a") as file:
                    file.write("\n")

        def advance(self, task, amount):
            pass

        def finish(self, task):
            pass

    with pytest.raises(EmbsnapError) as raised:
        warm_start(LargeEmbeddings(config), config, progress=Replacing())
    assert raised.value.kind is ErrorKind.OBJECT_REPLACED


@pytest.mark.gpu
def test_on_a_gpu(root, rows, far):
    config = parse(root)
    build_and_write(config, plan_warmstart(config), f"{root}/out", device="cuda", mode=Mode.TRAIN)
    order = np.random.default_rng(1).permutation(NEW)
    table = read_array(open_snapshot(f"{root}/out"), "user")
    np.testing.assert_array_equal(table[order < OLD], rows[order[order < OLD]])

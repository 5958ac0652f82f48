"""Warm starts from storage that cannot be mapped: the same rows, and each needed byte read about once."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from embsnap.errors import EmbsnapError, ErrorKind, StorageError
from embsnap.formats.torchsnapshot import snapshot as snapshots
from embsnap.formats.torchsnapshot import staging
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.ops.warmstart.plan import WarmstartOptions, plan_warmstart, write_warmstart
from embsnap.storage.uri import open_store
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.tables import read_array
from embsnap.testing.vocabularies import parquet_bytes, put

STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight"
ROWS, DIM = 20_000, 16


@dataclass
class Far:
    """Snapshots are opened in stores that cannot map, and count."""

    stores: dict[str, CountingStore] = field(default_factory=dict)

    def open(self, uri, options=None):
        return self.stores.setdefault(uri, CountingStore(open_store(uri, options), maps=False))

    @property
    def bytes_of_rows(self) -> int:
        """Read of objects, metadata and sidecars left aside."""
        return sum(
            num_bytes
            for uri, store in self.stores.items()
            if uri.endswith("/old")
            for location, num_bytes in store.bytes_read.items()
            if location.startswith("embsnap/")
        )


@pytest.fixture
def far(monkeypatch) -> Far:
    far = Far()
    monkeypatch.setattr(snapshots, "open_store", far.open)
    return far


@pytest.fixture
def no_temporary_files(monkeypatch, tmp_path):
    """Whoever stages anything fails."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))


def prepare(days, make_rows, new_ids):
    state = {
        f"{STATE}/user.momentum1": np.arange(ROWS, dtype=np.float32),
        f"{STATE}/user.exp_avg": make_rows(ROWS, DIM) + 1,
        f"{STATE}/user.iter": np.array([17], np.int64),
    }
    days.old(make_rows(ROWS, DIM), range(ROWS), **state)
    days.new(new_ids)
    return ROWS * (DIM * 4 * 2 + 4)


def written(days, num_rows):
    _, snapshot = days.run(num_rows)
    names = ["momentum1", "exp_avg", "iter"]
    return [read_array(snapshot, "user"), *(read_array(snapshot, f"{STATE}/user.{name}") for name in names)]


def test_permuted_rows_are_fetched_once_each(days, make_rows, monkeypatch, far):
    order = np.random.default_rng(0).permutation(ROWS)
    num_bytes = prepare(days, make_rows, [*order.tolist(), ROWS + 1])
    found = written(days, ROWS + 1)
    assert num_bytes <= far.bytes_of_rows <= 1.01 * num_bytes
    np.testing.assert_array_equal(found[0][:ROWS], make_rows(ROWS, DIM)[order])
    np.testing.assert_array_equal(found[1][:ROWS], order.astype(np.float32))
    np.testing.assert_array_equal(found[2][:ROWS], make_rows(ROWS, DIM)[order] + 1)
    assert found[3].tolist() == [17]


def test_a_hundred_rows_cost_their_bytes(days, make_rows, far, no_temporary_files):
    rows = np.random.default_rng(0).choice(ROWS, 100, replace=False)
    prepare(days, make_rows, rows.tolist())
    found = written(days, 100)
    assert far.bytes_of_rows < 2 * 100 * (DIM * 4 * 2 + 4)
    np.testing.assert_array_equal(found[0], make_rows(ROWS, DIM)[rows])
    np.testing.assert_array_equal(found[1], rows.astype(np.float32))


def test_only_the_part_of_an_object_that_is_needed_is_fetched(days, make_rows, far, monkeypatch):
    monkeypatch.setattr(staging, "_BAND_BYTES", 4096)
    rows = np.random.default_rng(0).permutation(5000) + 2000
    prepare(days, make_rows, rows.tolist())
    found = written(days, 5000)
    assert far.bytes_of_rows < 1.1 * 5000 * (DIM * 4 * 2 + 4)
    np.testing.assert_array_equal(found[2], make_rows(ROWS, DIM)[rows] + 1)


def test_a_flood_of_single_rows_is_read_as_a_stream(days, make_rows, far, monkeypatch):
    monkeypatch.setattr(staging, "_FEW_REQUESTS", 10)
    rows = np.random.default_rng(0).choice(ROWS, 2000, replace=False)
    num_bytes = prepare(days, make_rows, rows.tolist())
    found = written(days, 2000)
    assert far.bytes_of_rows == num_bytes + 8
    assert far.stores[f"{days.root}/old"].ranges < 20
    np.testing.assert_array_equal(found[0], make_rows(ROWS, DIM)[rows])


@pytest.mark.parametrize("kind", ["donors", "cast", "position", "mean"])
def test_whatever_the_rows_go_through(days, make_rows, kind, monkeypatch):
    days.old(make_rows(300, 8), range(300), **{f"{STATE}/user.momentum1": np.arange(300, dtype=np.float32)})
    new_ids = [*range(299, 49, -1), *range(1000, 1040)]
    days.new(new_ids)
    if kind == "donors":
        donors = [None] * 250 + [*range(20), *range(5000, 5020)]
        put(f"{days.root}/donors.parquet", parquet_bytes({"id": new_ids, "row": range(290), "donor": donors}))
        days.table = {"vocab": f"{days.root}/donors.parquet", "initializer": {"donor": {"column": "donor"}}}
    if kind == "mean":
        days.table = {"initializer": {"mean": {}}}
    if kind == "cast":
        days.table, days.pretrained = {"data_type": "fp16"}, {"cast": True}
    if kind == "position":
        days.table, days.pretrained = {"vocab": None}, {"vocab": None, "by_position": True}
    num_rows = 300 if kind == "position" else 290
    near = days.run(num_rows)[1]
    far = Far()
    monkeypatch.setattr(snapshots, "open_store", far.open)
    out = days.run(num_rows)[1]
    assert out.metadata_sha256 == near.metadata_sha256
    np.testing.assert_array_equal(read_array(out, "user"), read_array(near, "user"))
    path = f"{STATE}/user.momentum1"
    np.testing.assert_array_equal(read_array(out, path), read_array(near, path))
    assert far.bytes_of_rows > 0


def test_nothing_stays_behind(days, make_rows, far):
    prepare(days, make_rows, np.random.default_rng(0).permutation(ROWS).tolist())
    plan = plan_warmstart(days.parsed(ROWS), WarmstartOptions())
    before = temporary_maps()
    write_warmstart(plan, f"{days.root}/out")
    assert temporary_maps() == before
    write_warmstart(plan, f"{days.root}/again")
    again = read_array(f"{days.root}/again", "user")
    np.testing.assert_array_equal(again, read_array(f"{days.root}/out", "user"))


def temporary_maps() -> set[str]:
    """Temporary files that the process has mapped, with their inodes; others may have left theirs."""
    fields = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    files = [(inode, name) for *_, inode, name in (found for found in fields if len(found) == 6)]
    return {f"{inode} {name}" for inode, name in files if name.startswith(tempfile.gettempdir())}


class _Replacing:
    """Puts another snapshot in the place of the old one as soon as rows are written."""

    def __init__(self, uri):
        self.uri = uri

    def start(self, task, total, unit="B"):
        if task == "writing":
            store = open_store(self.uri)
            store.delete(METADATA_LOCATION)
            store.create(METADATA_LOCATION, b"{}")

    def advance(self, task, amount):
        pass

    def finish(self, task):
        pass


def test_a_snapshot_that_is_replaced_under_the_reader_is_noticed(days, make_rows):
    prepare(days, make_rows, range(ROWS))
    plan = plan_warmstart(days.parsed(ROWS))
    with pytest.raises(StorageError) as raised:
        write_warmstart(plan, f"{days.root}/out", progress=_Replacing(f"{days.root}/old"))
    assert raised.value.kind is ErrorKind.OBJECT_REPLACED
    assert f"{days.root}/old/.snapshot_metadata" in str(raised.value)
    assert list(open_store(f"{days.root}/out").list()) == []


def test_a_snapshot_that_is_gone_is_noticed(days, make_rows):
    prepare(days, make_rows, range(ROWS))
    snapshot = open_snapshot(f"{days.root}/old")
    snapshot.check_unchanged()
    open_store(f"{days.root}/old").delete(METADATA_LOCATION)
    with pytest.raises(EmbsnapError, match="replaced while it was read"):
        snapshot.check_unchanged()

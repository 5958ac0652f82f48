"""Reads that cover whole blocks compare them with the sidecar's sums; others say how many rows were not compared."""

from __future__ import annotations

import re

import numpy as np
import pytest

from embsnap.errors import EmbsnapError, ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.storage.local import LocalStore
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.corruptors import flip_bit, object_of
from embsnap.testing.tables import ArrayRows
from tests.servers import faults
from tests.servers.fault_proxy import Fault

PATH = "model/ebc.embedding_bags.user.weight"
ROWS, DIM = 3 << 14, 64
"""Twelve MiB: three blocks of the sidecar."""
TABLE = np.random.default_rng(0).standard_normal((ROWS, DIM), np.float32)


@pytest.fixture
def root(tmp_path):
    array = ArrayToWrite(PATH, DTYPES["float32"], TABLE.shape, ArrayRows(TABLE))
    write_snapshot(LocalStore(str(tmp_path / "snapshot")), [array], plan_digest="ab" * 32)
    return tmp_path / "snapshot"


@pytest.fixture(params=[True, False], ids=["mapped", "by-ranges"])
def reader(request, root):
    """Opens the table's reader."""

    def run(*, check=True):
        snapshot = open_snapshot(str(root), check=check)
        snapshot.store = CountingStore(LocalStore(str(root)), maps=request.param)
        return snapshot.reader(snapshot.table("user").weight)

    return run


def read_all(reader, step):
    rows_ND = np.empty((ROWS, DIM), np.float32)
    for start in range(0, ROWS, step):
        end = min(ROWS, start + step)
        reader.read(start, end, rows_ND[start:end])
    assert np.array_equal(rows_ND, TABLE)


@pytest.mark.parametrize("step", [ROWS, 4096, 5000])
def test_a_read_in_order_checks_everything(reader, step):
    found = reader()
    read_all(found, step)
    assert found.num_unchecked_rows == 0


def test_in_whatever_order_the_pieces_are_read(reader):
    found, out_ND = reader(), np.empty((4096, DIM), np.float32)
    for start in np.random.default_rng(1).permutation(range(0, ROWS, 4096)):
        found.read(start, start + 4096, out_ND)
    assert found.num_unchecked_rows == 0


@pytest.mark.parametrize("step", [ROWS, 4096])
def test_one_flipped_bit_is_found(root, reader, step):
    flip_bit(object_of(root, f"0/{PATH}"), 5 << 20)
    with pytest.raises(SnapshotError) as caught:
        read_all(reader(), step)
    error = caught.value
    assert error.kind is ErrorKind.CHECKSUM_MISMATCH
    assert f"bytes [{4 << 20}, {8 << 20})" in str(error)
    assert str(object_of(root, f"0/{PATH}")) in str(error)


@pytest.mark.parametrize("step", [ROWS, 16384])
def test_a_bit_that_flipped_on_its_way_is_fetched_again(root, gcs_proxy, step):
    uri = gcs_proxy.upload(root, "snapshot")
    media = re.escape(object_of(root, f"0/{PATH}").name) + ".*alt=media"
    gcs_proxy.add(Fault(faults.flipped(), "GET", media))
    found = remote_reader(uri)
    read_all(found, step)
    assert found.num_unchecked_rows == 0
    gcs_proxy.add(Fault(faults.flipped(), "GET", media, times=None))
    with pytest.raises(EmbsnapError) as caught:
        read_all(remote_reader(uri), step)
    assert caught.value.kind is (ErrorKind.CORRUPT_TRANSFER if step == ROWS else ErrorKind.CHECKSUM_MISMATCH)


def test_what_lies_beside_a_damaged_block_can_be_read(root, reader):
    flip_bit(object_of(root, f"0/{PATH}"), 5 << 20)
    found, out_ND = reader(), np.empty((16384, DIM), np.float32)
    for start in (16384, 16384):
        with pytest.raises(SnapshotError):
            found.read(start, start + 16384, out_ND)
        found.read(0, 16384, out_ND)
    assert np.array_equal(out_ND, TABLE[:16384])


def test_a_bit_that_flipped_in_a_part_of_a_block_is_an_error(root, gcs_proxy):
    uri = gcs_proxy.upload(root, "snapshot")
    gcs_proxy.add(Fault(faults.flipped(), "GET", re.escape(object_of(root, f"0/{PATH}").name) + ".*alt=media"))
    with pytest.raises(SnapshotError) as caught:
        read_all(remote_reader(uri), 5000)
    assert caught.value.kind is ErrorKind.CHECKSUM_MISMATCH


def remote_reader(uri):
    snapshot = open_snapshot(uri)
    return snapshot.reader(snapshot.table("user").weight)


def test_unless_nobody_wants_to_know(root, reader):
    flip_bit(object_of(root, f"0/{PATH}"), 5 << 20)
    found = reader(check=False)
    out_ND = np.empty((ROWS, DIM), np.float32)
    found.read(0, ROWS, out_ND)
    assert (out_ND != TABLE).sum() == 1
    assert found.num_unchecked_rows == ROWS


def test_a_read_of_less_than_a_block_is_counted(reader):
    found = reader()
    found.read(10, 30, np.empty((20, DIM), np.float32))
    assert found.num_unchecked_rows == 20
    found.read(20, 40, np.empty((20, DIM), np.float32))
    assert found.num_unchecked_rows == 30
    found.read(0, 16384, np.empty((16384, DIM), np.float32))
    assert found.num_unchecked_rows == 0


def test_rows_that_were_read_are_counted_once_more_rows_are(reader):
    found = reader()
    found.read(10, 30, np.empty((20, DIM), np.float32))
    found.read(29, 30, np.empty((1, DIM), np.float32))
    assert found.num_unchecked_rows == 20


def test_rows_picked_out_of_order(root, reader):
    found = reader()
    found.gather(np.array([5, 17, 40_000, 17]), np.empty((4, DIM), np.float32))
    assert found.num_unchecked_rows in (3, 4)


def test_once_most_rows_were_picked_all_blocks_were_compared(root):
    snapshot = open_snapshot(str(root))
    found = snapshot.reader(snapshot.table("user").weight)
    order = np.random.default_rng(2).permutation(ROWS)
    for start in range(0, ROWS * 3 // 4, 1024):
        found.gather(order[start : start + 1024], np.empty((1024, DIM), np.float32))
    assert found.num_unchecked_rows == 0


def test_a_flipped_bit_is_found_by_picking_rows_too(root):
    flip_bit(object_of(root, f"0/{PATH}"), 9 << 20)
    snapshot = open_snapshot(str(root))
    found = snapshot.reader(snapshot.table("user").weight)
    order = np.random.default_rng(2).permutation(ROWS)
    with pytest.raises(SnapshotError) as caught:
        found.gather(order, np.empty((ROWS, DIM), np.float32))
    assert caught.value.kind is ErrorKind.CHECKSUM_MISMATCH


def test_a_snapshot_without_a_sidecar_is_read_unchecked(root, reader):
    for file in (root / ".embsnap").iterdir():
        file.unlink()
    found = reader()
    read_all(found, 4096)
    assert found.num_unchecked_rows == ROWS

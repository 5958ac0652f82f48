from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest

from embsnap.errors import ErrorKind, SnapshotError, UsageError
from embsnap.formats.dtypes import from_numpy, to_numpy
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.model.table import Piece, StoredArray
from embsnap.storage.local import LocalStore
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.snapshots import SnapshotBuilder, row_shards

PATH = "model/ebc.embedding_bags.t.weight"
ROWS, DIM = 1000, 16


@pytest.fixture
def table():
    return np.random.default_rng(0).random((ROWS, DIM), np.float32)


@pytest.fixture
def stored(tmp_path, table):
    """The store of a snapshot with the table cut row-wise over three ranks, and the array."""
    builder = SnapshotBuilder(world_size=3)
    builder.sharded(PATH, table, row_shards(table.shape, 3))
    snapshot = open_snapshot(str(builder.write(tmp_path)))
    return LocalStore(str(tmp_path)), snapshot.table("t").weight


def test_nothing_is_read_before_the_first_row(stored):
    store = CountingStore(stored[0])
    reader = ArrayReader(store, stored[1])
    assert (reader.num_rows, reader.dim, reader.dtype) == (ROWS, DIM, np.float32)
    assert store.requests == {}


def test_a_slice_reads_its_bytes_and_no_more(stored, table):
    store = CountingStore(stored[0], maps=False)
    rows_ND = np.empty((100, DIM), np.float32)
    ArrayReader(store, stored[1]).read(300, 400, rows_ND)
    np.testing.assert_array_equal(rows_ND, table[300:400])
    assert sum(store.bytes_read.values()) == rows_ND.nbytes
    assert store.ranges == 2


def test_neighbouring_rows_come_in_one_request(stored, table):
    store = CountingStore(stored[0], maps=False)
    rows_N = np.array([5, 3, 4, 5, 900])
    rows_ND = np.empty((5, DIM), np.float32)
    ArrayReader(store, stored[1]).gather(rows_N, rows_ND)
    np.testing.assert_array_equal(rows_ND, table[rows_N])
    assert store.ranges == 2
    assert sum(store.bytes_read.values()) == (3 + 1) * DIM * 4


def test_rows_far_apart_come_in_requests_of_their_own(tmp_path):
    table = np.arange(2 * 40_000, dtype=np.float32).reshape(40_000, 2)
    builder = SnapshotBuilder()
    builder.tensor(PATH, table)
    snapshot = open_snapshot(str(builder.write(tmp_path)))
    store = CountingStore(snapshot.store, maps=False)
    rows_N, rows_ND = np.array([0, 39_999]), np.empty((2, 2), np.float32)
    ArrayReader(store, snapshot.table("t").weight).gather(rows_N, rows_ND)
    np.testing.assert_array_equal(rows_ND, table[rows_N])
    assert (store.ranges, sum(store.bytes_read.values())) == (2, 16)


def test_an_object_is_looked_at_once(stored):
    store = CountingStore(stored[0])
    reader = ArrayReader(store, stored[1])
    for _ in range(3):
        reader.gather(np.arange(ROWS), np.empty((ROWS, DIM), np.float32))
    assert store.requests == {"map": 1}


def test_many_threads_share_a_reader(stored, table):
    reader = ArrayReader(*stored)

    def read(seed):
        rows_N = np.random.default_rng(seed).integers(0, ROWS, 500)
        rows_ND = np.empty((500, DIM), np.float32)
        reader.gather(rows_N, rows_ND)
        return np.array_equal(rows_ND, table[rows_N])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(40)))


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (0, ROWS + 1), (5, 4)])
def test_a_range_beyond_the_rows(stored, start, end):
    with pytest.raises(UsageError, match=r"a range within \[0, 1000\)"):
        ArrayReader(*stored).read(start, end, np.empty((max(0, end - start), DIM), np.float32))


def test_a_row_beyond_the_rows(stored):
    with pytest.raises(UsageError, match="rows below 1000, found 1000"):
        ArrayReader(*stored).gather(np.array([0, ROWS]), np.empty((2, DIM), np.float32))


@pytest.mark.parametrize(
    "out_ND",
    [
        np.empty((2, DIM), np.float64),
        np.empty((3, DIM), np.float32),
        np.empty((2, DIM + 1), np.float32),
        np.empty((2, DIM * 2), np.float32)[:, ::2],
        np.empty((DIM, 2), np.float32).T,
        np.broadcast_to(np.float32(0), (2, DIM)),
    ],
)
def test_a_destination_that_does_not_fit(stored, out_ND):
    reader = ArrayReader(*stored)
    with pytest.raises(UsageError, match="a writable C-contiguous"):
        reader.read(0, 2, out_ND)
    with pytest.raises(UsageError, match="a writable C-contiguous"):
        reader.gather(np.array([0, 1]), out_ND)


def test_nothing_asked_nothing_read(stored):
    store = CountingStore(stored[0])
    reader = ArrayReader(store, stored[1])
    reader.read(7, 7, np.empty((0, DIM), np.float32))
    reader.gather(np.empty(0, np.int64), np.empty((0, DIM), np.float32))
    reader.gather(np.array([-1, -1]), np.empty((2, DIM), np.float32))
    assert store.requests == {}


def test_one_dimension_is_one_column(tmp_path):
    builder = SnapshotBuilder()
    builder.tensor("model/bias", np.arange(5, dtype=np.int16))
    builder.tensor("model/scalar", np.array(7.5, np.float64))
    snapshot = open_snapshot(str(builder.write(tmp_path)))
    bias, scalar = (snapshot.reader(snapshot.array(f"model/{name}")) for name in ("bias", "scalar"))
    rows_ND = np.empty((5, 1), np.int16)
    bias.read(0, 5, rows_ND)
    assert rows_ND[:, 0].tolist() == [0, 1, 2, 3, 4]
    value = np.empty((1, 1))
    scalar.read(0, 1, value)
    assert value.tolist() == [[7.5]]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_an_odd_number_of_16_bit_floats(tmp_path, name):
    table = np.arange(15).reshape(5, 3).astype(to_numpy(DTYPES[name]))
    builder = SnapshotBuilder()
    builder.tensor("model/first", np.zeros(1, np.uint8))
    builder.tensor(PATH, table)
    snapshot = open_snapshot(str(builder.write(tmp_path)))
    reader = snapshot.reader(snapshot.table("t").weight)
    rows_ND = np.empty((2, 3), table.dtype)
    reader.gather(np.array([4, 1]), rows_ND)
    assert rows_ND.tolist() == table[[4, 1]].tolist()


def test_pieces_made_by_hand_are_checked(stored):
    def reader(**changes):
        fields = {"offsets": (0, 0), "sizes": (2, 2), "location": "a", "start": 0, "end": 16, "rank": 0}
        piece = Piece(**{**fields, **changes})
        return ArrayReader(stored[0], StoredArray("w", DTYPES["float32"], (2, 2), (piece,), "Tensor"))

    with pytest.raises(SnapshotError) as caught:
        reader(end=15)
    assert caught.value.kind is ErrorKind.BAD_ENTRY
    with pytest.raises(SnapshotError) as caught:
        reader(location="../a").read(0, 1, np.empty((1, 2), np.float32))
    assert caught.value.kind is ErrorKind.UNSAFE_LOCATION


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_there_and_back(name):
    assert from_numpy(to_numpy(DTYPES[name])) is DTYPES[name]
    assert to_numpy(DTYPES[name]).itemsize == DTYPES[name].itemsize


def test_bfloat16_is_that_of_ml_dtypes():
    assert to_numpy(DTYPES["bfloat16"]) == ml_dtypes.bfloat16
    with pytest.raises(KeyError):
        from_numpy(np.dtype("U3"))

"""An object that is not the one that was written is noticed in a bucket, however few of its rows are read.

Of a few rows no block is compared; but the storage says what sum the whole object has, and which generation it sends.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.storage.local import LocalStore
from embsnap.testing.tables import ArrayRows
from tests.servers import faults
from tests.servers.exchange import Exchange
from tests.servers.fault_proxy import Fault
from tests.servers.gcs import FaultyBucket

TABLE = np.arange(4000, dtype=np.float32).reshape(1000, 4)
ROWS = np.array([7, 900, 31])


@pytest.fixture
def name(gcs_proxy: FaultyBucket, tmp_path: Path) -> str:
    """Of the table's object, in a snapshot with a sidecar, at `snapshot`."""
    array = ArrayToWrite("model/ebc.embedding_bags.user.weight", DTYPES["float32"], TABLE.shape, ArrayRows(TABLE))
    write_snapshot(LocalStore(str(tmp_path)), [array], plan_digest="ab" * 32)
    gcs_proxy.upload(tmp_path, "snapshot")
    (name,) = (name for name in gcs_proxy.names("snapshot/embsnap/") if not name.endswith(".json"))
    return name


def read_rows(bucket: FaultyBucket, *, check: bool = True) -> np.ndarray:
    snapshot = open_snapshot(bucket.uri("snapshot"), check=check)
    reader = snapshot.reader(snapshot.table("user").weight)
    out_ND = np.empty((len(ROWS), 4), np.float32)
    reader.gather(ROWS, out_ND)
    assert reader.num_unchecked_rows == len(ROWS)
    return out_ND


def replaced(bucket: FaultyBucket, name: str, change: Callable[[bytes], bytes]) -> None:
    bucket.put(name, change(bucket.get(name)))


@pytest.mark.parametrize(
    "change",
    [lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[::-1], lambda data: data + b"more"],
    ids=["a flipped bit", "other bytes", "appended bytes"],
)
def test_before_its_first_read(gcs_proxy: FaultyBucket, name: str, change: Callable[[bytes], bytes]) -> None:
    assert np.array_equal(read_rows(gcs_proxy), TABLE[ROWS])
    replaced(gcs_proxy, name, change)
    gcs_proxy.proxy.clear()
    with pytest.raises(EmbsnapError, match="not the one that was written") as caught:
        read_rows(gcs_proxy)
    assert caught.value.kind is ErrorKind.CHECKSUM_MISMATCH
    assert str(caught.value.where) == gcs_proxy.uri(name)
    assert not [request for request in gcs_proxy.log if name in request.path and "alt=media" in request.path]
    read_rows(gcs_proxy, check=False)


def test_between_the_first_look_at_it_and_the_first_read(gcs_proxy: FaultyBucket, name: str) -> None:
    def replace_first(exchange: Exchange) -> None:
        replaced(gcs_proxy, name, lambda data: data[::-1])
        exchange.answer(exchange.forward())

    gcs_proxy.add(Fault(replace_first, path=f"{name}.*alt=media"))
    with pytest.raises(EmbsnapError) as caught:
        read_rows(gcs_proxy)
    assert caught.value.kind is ErrorKind.OBJECT_REPLACED
    assert str(caught.value.where) == gcs_proxy.uri(name)


def test_a_look_that_has_to_be_repeated(gcs_proxy: FaultyBucket, name: str) -> None:
    gcs_proxy.add(Fault(faults.status(503), path=rf"{name}\?fields"))
    assert np.array_equal(read_rows(gcs_proxy), TABLE[ROWS])

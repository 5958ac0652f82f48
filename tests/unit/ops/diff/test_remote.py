"""Snapshots in storage that cannot be mapped: each byte is read about once, and nothing changes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from embsnap.errors import ErrorKind, StorageError
from embsnap.formats.torchsnapshot import snapshot as snapshot_module
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.storage.uri import open_store
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.faults import Fault, FaultStore


@pytest.fixture
def big(write_days):
    rng = np.random.default_rng(0)
    ids = rng.permutation(40_000)
    a_VD = rng.standard_normal((40_000, 32)).astype(np.float32)
    order = rng.permutation(40_000)
    return write_days(a_VD, a_VD[order] + np.float32(0.1), ids, ids[order])


def test_permuted_rows_are_read_once_and_give_the_same_figures(big, monkeypatch):
    mapped = big.diff(neighbors=3, procrustes=True, num_sampled=5)
    stores = []

    def opened(uri, options=None):
        stores.append(CountingStore(open_store(uri, options), maps=False))
        return stores[-1]

    monkeypatch.setattr(snapshot_module, "open_store", opened)
    assert big.diff(neighbors=3, procrustes=True, num_sampled=5).tables == mapped.tables
    assert [sum(store.bytes_read.values()) < 1.1 * big.a_VD.nbytes for store in stores] == [True, True]


def test_a_snapshot_that_is_replaced_meanwhile_is_noticed(big, monkeypatch):
    def replace(location):
        path = f"{big.root}/b/{METADATA_LOCATION}"
        with open(path, "ab") as file:
            file.write(b" ")

    def opened(uri, options=None):
        store = open_store(uri, options)
        return FaultStore(store, Fault("read_ranges", replace)) if uri.endswith("/b") else store

    monkeypatch.setattr(snapshot_module, "open_store", opened)
    with pytest.raises(StorageError) as raised:
        big.diff()
    assert raised.value.kind is ErrorKind.OBJECT_REPLACED


def test_one_result_is_a_value(days):
    """The report of one run can be kept, compared and changed as a value."""
    result = days.diff()
    assert dataclasses.replace(result, seconds=0) == dataclasses.replace(days.diff(), seconds=0)

"""Forms of producers that cannot be installed, built field by field."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.table import Sharding, StateLayout
from embsnap.testing.constructed import (
    constructed_dtensor_grid,
    constructed_replicated,
    constructed_torchrec_0_4,
    constructed_yaml,
)

ALL = [constructed_dtensor_grid, constructed_replicated, constructed_torchrec_0_4, constructed_yaml]


@pytest.mark.parametrize("construct", ALL, ids=lambda construct: construct.__name__)
def test_arrays_are_read_whole(construct, tmp_path):
    truth = construct(tmp_path)
    snapshot = open_snapshot(str(tmp_path))
    tables = snapshot.tables()
    arrays = [table.weight for table in tables] + [state.array for table in tables for state in table.state]
    assert {array.path for array in arrays} == set(truth)
    for array in arrays:
        rows_ND = np.empty(array.shape, np.float32)
        snapshot.reader(array).read(0, array.shape[0], rows_ND)
        np.testing.assert_array_equal(rows_ND, truth[array.path])
    assert snapshot.findings == ()


def test_torchrec_0_4_states(tmp_path):
    constructed_torchrec_0_4(tmp_path)
    (table,) = open_snapshot(str(tmp_path)).tables()
    assert [(state.name, state.layout) for state in table.state] == [
        ("momentum1", StateLayout.ELEMENT_WISE),
        ("momentum2", StateLayout.ELEMENT_WISE),
    ]


def test_a_grid_is_cut_both_ways(tmp_path):
    constructed_dtensor_grid(tmp_path)
    assert open_snapshot(str(tmp_path)).table("user").sharding is Sharding.GRID


def test_replicated_entries_are_copies(tmp_path):
    constructed_replicated(tmp_path)
    assert {table.sharding for table in open_snapshot(str(tmp_path)).tables()} == {Sharding.DATA_PARALLEL}


@pytest.mark.parametrize("name", ["~", "yes", "1", "a: b", "# c", "😀", "long " * 40])
def test_yaml_strings_stay_what_they_are(name, tmp_path):
    constructed_yaml(tmp_path)
    assert open_snapshot(str(tmp_path)).value(f"extra_state/{name}") == f"{name}\n{name}"

"""Snapshots that each installable torchsnapshot really wrote, committed with the script that made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.findings import Severity, worst
from embsnap.model.table import Sharding
from embsnap.testing.truth import load_truth

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
CASES = sorted(file.parent.relative_to(GOLDEN).as_posix() for file in GOLDEN.glob("*/*/.snapshot_metadata"))
PICKLED = [case for case in CASES if case.startswith("torchsnapshot-0.0.3")]
READABLE = [case for case in CASES if case not in PICKLED]


def test_none_is_lost():
    producers = {case.partition("/")[0] for case in CASES}
    assert producers == {
        "torchsnapshot-0.0.3",
        "torchsnapshot-0.1.0",
        "torchsnapshot-nightly-2022.10.10",
        "torchsnapshot-nightly-2024.7.26",
    }
    assert len(CASES) == 9


@pytest.mark.parametrize("case", READABLE)
def test_every_array_is_read_as_torch_had_it(case):
    snapshot, truth = open_snapshot(str(GOLDEN / case)), load_truth(GOLDEN / case)
    tables = snapshot.tables()
    assert tables
    for array in [table.weight for table in tables] + [state.array for table in tables for state in table.state]:
        reader = snapshot.reader(array)
        rows_ND = np.empty((reader.num_rows, reader.dim), reader.dtype)
        reader.read(0, reader.num_rows, rows_ND)
        found = rows_ND.view(np.uint16) if rows_ND.dtype.itemsize == 2 else rows_ND
        np.testing.assert_array_equal(found.reshape(array.shape), truth[array.path], err_msg=array.path)
    assert snapshot.findings == ()


@pytest.mark.parametrize("case", PICKLED)
def test_pickled_tables_stay_closed(case):
    """Up to 0.0.3 every tensor is a pickle, and no pickle is opened."""
    snapshot = open_snapshot(str(GOLDEN / case))
    assert snapshot.manifest.version == "0.0.1"
    with pytest.raises(SnapshotError) as error:
        snapshot.table("t_rw")
    assert error.value.kind is ErrorKind.OPAQUE_ENTRY
    assert worst(snapshot.findings) is Severity.ERROR


def test_yaml_metadata_is_yaml():
    text = (GOLDEN / "torchsnapshot-nightly-2022.10.10/every_rank/.snapshot_metadata").read_text()
    assert text.startswith("version: 0.0.3\n")


def test_dtensors_are_told_apart():
    snapshot = open_snapshot(str(GOLDEN / "torchsnapshot-nightly-2024.7.26/dtensors"))
    assert {table.name: table.sharding for table in snapshot.tables()} == {
        "rows": Sharding.ROW_WISE,
        "columns": Sharding.COLUMN_WISE,
        "rows_twice": Sharding.ROW_WISE,
        "copies": Sharding.DATA_PARALLEL,
    }

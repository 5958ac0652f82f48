"""What real torchsnapshot writes of real sharded models, embsnap reads bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.table import Sharding, StateLayout
from embsnap.storage.local import LocalStore
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.truth import load_truth

pytest.importorskip("torchrec")
pytestmark = [pytest.mark.distributed, pytest.mark.slow]

SCRIPT = Path(__file__).parents[1] / "distributed" / "write_snapshots.py"
SHARDED = ["rowwise_adagrad", "adagrad", "unbatched", "chunked"]
CASES = [*SHARDED, "half", "dense_kernel", "plain"]


@pytest.fixture(scope="module", params=[1, 2, 3])
def written(request, tmp_path_factory):
    """World size, and the directory that its ranks have written all cases to."""
    out = tmp_path_factory.mktemp(f"ranks{request.param}")
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command = [*launch, "--nproc-per-node", str(request.param), str(SCRIPT), str(out), *CASES]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return request.param, out


def bits(array):
    """16-bit floats as their bits, as the truth has them."""
    return array.view(np.uint16) if array.dtype.itemsize == 2 else array


def whole(reader, shape):
    rows_ND = np.empty((reader.num_rows, reader.dim), reader.dtype)
    reader.read(0, reader.num_rows, rows_ND)
    return bits(rows_ND).reshape(shape)


@pytest.mark.parametrize("case", CASES)
def test_every_array_is_read_as_torch_has_it(written, case):
    _, out = written
    snapshot, truth = open_snapshot(str(out / case)), load_truth(out / case)
    tables = snapshot.tables()
    arrays = [table.weight for table in tables] + [state.array for table in tables for state in table.state]
    joined = {array.path for array in arrays}
    arrays += [snapshot.array(path) for path in truth if path not in joined]
    assert {array.path for array in arrays} == set(truth)
    for array in arrays:
        expected = truth[array.path]
        assert array.shape == expected.shape, array.path
        np.testing.assert_array_equal(whole(snapshot.reader(array), array.shape), expected, err_msg=array.path)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("maps", [True, False], ids=["mapped", "by-ranges"])
def test_rows_by_index_are_those_of_the_whole(written, case, maps):
    _, out = written
    truth = load_truth(out / case)
    store = CountingStore(LocalStore(str(out / case)), maps=maps)
    for table in open_snapshot(str(out / case)).tables():
        reader = ArrayReader(store, table.weight)
        rows_N = np.array([table.num_embeddings - 1, 0, -1, 0, table.num_embeddings // 2])
        rows_ND = np.full((5, table.embedding_dim), 7, reader.dtype)
        reader.gather(rows_N, rows_ND)
        expected = truth[table.weight.path][rows_N]
        expected[2] = bits(np.array(7, reader.dtype))
        np.testing.assert_array_equal(bits(rows_ND), expected, err_msg=table.name)


@pytest.mark.parametrize("case", SHARDED)
def test_sharding_and_state_are_told(written, case):
    world_size, out = written
    tables = {table.name: table for table in open_snapshot(str(out / case)).tables()}
    many = world_size > 1
    assert {name: table.sharding for name, table in tables.items()} == {
        "t_rw": Sharding.ROW_WISE if many else Sharding.WHOLE,
        "t_tw": Sharding.TABLE_WISE if many else Sharding.WHOLE,
        "t_cw": Sharding.COLUMN_WISE,
        "t_dp": Sharding.DATA_PARALLEL if many else Sharding.WHOLE,
    }
    assert tables["t_rw"].ranks == tuple(range(world_size))
    assert tables["t_tw"].ranks == (world_size - 1,)
    row_wise = case in ("rowwise_adagrad", "unbatched")
    by_column = StateLayout.ROW_WISE_PER_COLUMN_SHARD if row_wise else StateLayout.ELEMENT_WISE
    assert [state.layout for state in tables["t_cw"].state] == [by_column]
    assert [state.name for state in tables["t_rw"].state] == ["momentum1"]


def test_nothing_is_found_wrong(written):
    _, out = written
    for case in CASES:
        assert open_snapshot(str(out / case)).findings == (), case


def test_values(written):
    _, out = written
    snapshot = open_snapshot(str(out / "adagrad"))
    assert (snapshot.value("extra_state/step"), snapshot.value("0/extra_state/walltime")) == (5, 2.5)


def test_the_smallest_limits_make_several_pieces(written):
    """So that the chunked case tests what it is named for."""
    world_size, out = written
    tables = {table.name: table.weight for table in open_snapshot(str(out / "chunked")).tables()}
    assert len(tables["t_rw"].pieces) > world_size
    assert tables["t_dp"].form == "ChunkedTensor"
    assert len(tables["t_dp"].pieces) == 3


def test_a_copy_of_one_rank_is_named_by_its_full_path(written):
    world_size, out = written
    snapshot = open_snapshot(str(out / "adagrad"))
    path = "model/ebc.embedding_bags.t_dp.weight"
    last = snapshot.table(f"{world_size - 1}/{path}", with_state=False).weight
    assert {piece.rank for piece in last.pieces} == {world_size - 1}

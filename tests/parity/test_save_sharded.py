"""What `embsnap.save` writes of real sharded models: read back bit for bit, and restored by torchsnapshot 0.1.0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embsnap.errors import SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.table import Sharding
from embsnap.ops.verify.verify import verify
from embsnap.testing.truth import load_truth

pytest.importorskip("torchrec")
pytestmark = [pytest.mark.distributed, pytest.mark.slow]

SCRIPTS = Path(__file__).parents[1] / "distributed"
CASES = ["tensor", "sharded", "adagrad", "async", "half", "dense_kernel", "dtensors"]
SHARDED = ["t_rw", "t_tw", "t_cw", "t_dp"]


def torchrun(num_ranks: int, script: str, *arguments: object, fails: bool = False) -> None:
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command = [*launch, "--nproc-per-node", str(num_ranks), str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300)
    assert (done.returncode != 0) is fails, done.stderr.decode()[-3000:]


@pytest.fixture(scope="module", params=[2, 3])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """World size, and the directory that its ranks have saved all cases to."""
    out = tmp_path_factory.mktemp(f"saved{request.param}")
    cases = [case for case in CASES if case != "dtensors" or request.param % 2 == 0]
    torchrun(request.param, "save_models.py", out, *cases, "failing", "logger")
    return request.param, out


def bits(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(np.uint16) if array.dtype.itemsize == 2 else array


@pytest.mark.parametrize("case", CASES)
def test_every_array_is_what_torch_had(saved: tuple[int, Path], case: str) -> None:
    _, out = saved
    if not (out / case).exists():
        pytest.skip("the square mesh needs an even number of ranks")
    snapshot, truth = open_snapshot(str(out / case)), load_truth(out / f"{case}.truth")
    tables = snapshot.tables()
    arrays = [table.weight for table in tables] + [state.array for table in tables for state in table.state]
    joined = {array.path for array in arrays}
    arrays += [snapshot.array(path) for path in truth if path not in joined]
    assert {array.path for array in arrays} == set(truth)
    for array in arrays:
        reader, expected = snapshot.reader(array), truth[array.path]
        rows_ND = np.empty((reader.num_rows, reader.dim), reader.dtype)
        reader.read(0, reader.num_rows, rows_ND)
        np.testing.assert_array_equal(bits(rows_ND).reshape(array.shape), expected, err_msg=array.path)


def test_nothing_is_found_wrong_and_the_plan_is_kept(saved: tuple[int, Path]) -> None:
    world_size, out = saved
    for case in ("tensor", "sharded", "adagrad", "async", "half", "dense_kernel"):
        snapshot = open_snapshot(str(out / case))
        assert snapshot.findings == (), case
        assert snapshot.manifest.world_size == world_size
    tables = {table.name: table for table in open_snapshot(str(out / "tensor")).tables()}
    assert {name: table.sharding for name, table in tables.items()} == {
        "t_rw": Sharding.ROW_WISE,
        "t_tw": Sharding.TABLE_WISE,
        "t_cw": Sharding.COLUMN_WISE,
        "t_dp": Sharding.DATA_PARALLEL,
    }
    assert all(table.state for name, table in tables.items() if name != "t_dp")


def test_what_all_ranks_hold_alike_is_written_once(saved: tuple[int, Path]) -> None:
    _, out = saved
    listing = open_snapshot(str(out / "tensor")).listing.by_path
    for path in ("model/ebc.embedding_bags.t_dp.weight", "model/dense.weight", "extra_state/step"):
        assert set(listing[path]) == {0}
    local = "optimizer/state/ebc.embedding_bags.t_rw.weight/exp_avg"
    assert len(open_snapshot(str(out / "dense_kernel")).listing.by_path[local]) > 1


def test_the_checksums_hold(saved: tuple[int, Path]) -> None:
    _, out = saved
    for case in ("tensor", "half"):
        found = verify(str(out / case))
        assert not [finding for finding in found.findings if finding.severity != "note"], case


@pytest.mark.parametrize(("num_ranks", "cases"), [(1, ("tensor", "async")), (3, ("tensor",))])
def test_torchsnapshot_restores_it_at_another_world_size(
    saved: tuple[int, Path], num_ranks: int, cases: tuple[str, ...], tmp_path: Path
) -> None:
    _, out = saved
    places = [str(place) for case in cases for place in (out / case, tmp_path / case)]
    torchrun(num_ranks, "restore_written.py", ",".join(SHARDED), *places)
    for case in cases:
        restored, truth = load_truth(tmp_path / case), load_truth(out / f"{case}.truth")
        for path in [f"model/ebc.embedding_bags.{name}.weight" for name in SHARDED] + ["model/dense.weight"]:
            np.testing.assert_array_equal(restored[path], truth[path], err_msg=f"{case} {path}")
        assert restored["extra_state/step"] == 5


def test_a_rank_that_fails_ends_all_with_its_message(saved: tuple[int, Path]) -> None:
    world_size, out = saved
    texts = [(out / f"failing.{rank}.txt").read_text() for rank in range(world_size)]
    assert all(text.startswith("disk-full") for text in texts)
    assert all(f"rank {world_size - 1}" in text for text in texts[:-1])
    assert not [path for path in (out / "failing").rglob("*") if path.is_file()]


def test_the_logger_measures_whole_tables_on_every_rank(saved: tuple[int, Path]) -> None:
    world_size, out = saved
    measured = [json.loads((out / f"logger.{rank}.json").read_text()) for rank in range(world_size)]
    assert all(found == measured[0] for found in measured)
    found = dict(measured[0])
    rows = {path.split(".")[-2]: array for path, array in load_truth(out / "logger.truth").items() if "t_" in path}
    for name in SHARDED:
        norms = np.linalg.norm(rows[name].astype(np.float64), axis=1)
        wanted = {"mean_norm": norms.mean(), "std_norm": norms.std(), "min_norm": norms.min(), "max_norm": norms.max()}
        wanted |= {"num_dead": (norms == 0).sum(), "num_near_zero": (norms <= 1e-4).sum(), "num_non_finite": 0}
        assert {key: found.pop(f"{name}/{key}") for key in wanted} == pytest.approx(wanted)
    assert rows["t_cw"][1].max() == rows["t_rw"][1].max() == 0
    key = "ebc.embedding_bags.{}.weight-norm-{}"
    ranks = {"t_rw": range(world_size), "t_cw": range(2), "t_tw": [world_size - 1], "t_dp": [0]}
    assert found.keys() == {key.format(name, rank) for name, held in ranks.items() for rank in held}
    half = np.linalg.norm(rows["t_cw"][:, :4].astype(np.float64), axis=1).mean()
    assert found[key.format("t_cw", 0)] == pytest.approx(half)


def test_a_rank_that_is_killed_leaves_no_snapshot_and_the_next_save_passes_by(tmp_path: Path) -> None:
    torchrun(2, "save_models.py", tmp_path, "killed", fails=True)
    with pytest.raises(SnapshotError):
        open_snapshot(str(tmp_path / "killed"))
    (tmp_path / "tensor").symlink_to(tmp_path / "killed")
    torchrun(2, "save_models.py", tmp_path, "tensor")
    assert open_snapshot(str(tmp_path / "killed")).findings == ()

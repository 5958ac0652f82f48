"""torchsnapshot 0.1.0 restores what embsnap writes into sharded models, whatever their sharding and world size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embsnap.formats.dtypes import from_numpy
from embsnap.formats.torchsnapshot import layout
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.storage.uri import open_store
from embsnap.testing.tables import ArrayRows

pytest.importorskip("torchrec")
pytestmark = [pytest.mark.distributed, pytest.mark.slow]

SCRIPT = Path(__file__).parents[1] / "distributed" / "restore_written.py"
ROWS = {"t_rw": 10, "t_tw": 6, "t_cw": 4, "t_dp": 3, "t_fp16": 9, "t_one": 1}
"""Row-wise, table-wise, column-wise, data-parallel, row-wise in 16 bits, a table of one row."""
DIM = 8
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.{0}.weight/{0}.momentum1"


def random_array(*shape: int, dtype: str = "float32") -> NDArray[Any]:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)


def array_to_write(path: str, array: NDArray[Any], form: Any) -> ArrayToWrite:
    rows = ArrayRows(array.reshape(len(array), -1))
    return ArrayToWrite(path, from_numpy(array.dtype), array.shape, rows, form)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, NDArray[Any]]]:
    """A snapshot cut into pieces of two rows, with optimizer state and a dense layer, and the arrays of its model."""
    root = tmp_path_factory.mktemp("written")
    weights = {
        f"model/ebc.embedding_bags.{name}.weight": random_array(
            rows, DIM, dtype="float16" if name == "t_fp16" else "float32"
        )
        for name, rows in ROWS.items()
    }
    dense = {"model/dense.weight": random_array(2, DIM * len(ROWS)), "model/dense.bias": random_array(2)}
    state = {STATE.format(name): random_array(rows) for name, rows in ROWS.items()}
    arrays = [array_to_write(path, array, "sharded") for path, array in weights.items()]
    arrays += [array_to_write(path, array, "tensor") for path, array in (dense | state).items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "PIECE_BYTES", 2 * DIM * 4)
        patch.setattr(layout, "OBJECT_BYTES", 300)
        write_snapshot(open_store(str(root)), arrays, plan_digest="ab" * 32, values={"extra_state/step": 7})
    return root, weights | dense


@pytest.fixture(scope="module", params=[1, 2, 3])
def restored(
    request: pytest.FixtureRequest,
    expected: tuple[Path, dict[str, NDArray[Any]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[dict[str, NDArray[Any]]]:
    """What each rank holds after the restore."""
    out = tmp_path_factory.mktemp(f"ranks{request.param}")
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    script = [str(SCRIPT), ",".join(ROWS), str(expected[0]), str(out)]
    done = subprocess.run(
        [*launch, "--nproc-per-node", str(request.param), *script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return [dict(np.load(out / f"truth.{rank}.npz")) for rank in range(request.param)]


def test_every_shard_on_every_rank_holds_its_rows(
    expected: tuple[Path, dict[str, NDArray[Any]]], restored: list[dict[str, NDArray[Any]]]
) -> None:
    covered = {path: np.zeros(array.shape, bool) for path, array in expected[1].items()}
    for shards in restored:
        for place, shard in shards.items():
            path, _, offsets = place.partition("|")
            if path not in covered:
                continue
            box = tuple(
                slice(int(start), int(start) + size)
                for start, size in zip(offsets.split(","), shard.shape, strict=True)
            )
            assert shard.tobytes() == np.ascontiguousarray(expected[1][path][box]).tobytes(), place
            covered[path][box] = True
    assert all(mask.all() for mask in covered.values())


def test_every_rank_gets_the_data_parallel_table_the_dense_layer_and_the_step(
    expected: tuple[Path, dict[str, NDArray[Any]]], restored: list[dict[str, NDArray[Any]]]
) -> None:
    for shards in restored:
        for path in ("model/ebc.embedding_bags.t_dp.weight", "model/dense.weight"):
            assert shards[f"{path}|0,0"].tobytes() == expected[1][path].tobytes()
        assert shards["extra_state/step|"] == 7

"""Writing a snapshot: what is written is read back, by the layout and in the order that were promised.

Shape suffixes: V rows of a table, D embedding_dim, N rows in hand.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from embsnap.formats.checksums import sums_of
from embsnap.formats.dtypes import from_numpy
from embsnap.formats.sidecar import Lineage, Parent, TableVocabulary, parse_sidecar, sidecar_location
from embsnap.formats.torchsnapshot import layout
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.storage.memory import MemoryStore
from embsnap.storage.uri import open_store
from embsnap.testing.faults import Fault, FaultStore
from embsnap.testing.tables import ArrayRows, read_array

DIGEST = "0123456789abcdef" * 4
WEIGHT = "model/ebc.embedding_bags.user.weight"


def array_to_write(path: str, array: NDArray[Any], form: Any = "sharded") -> ArrayToWrite:
    num_rows = array.shape[0] if array.ndim else 1
    rows = ArrayRows(array.reshape(num_rows, array.shape[1] if array.ndim == 2 else 1))
    return ArrayToWrite(path, from_numpy(array.dtype), array.shape, rows, form)


def random_array(shape: tuple[int, ...], dtype: Any = "float32") -> NDArray[Any]:
    return np.random.default_rng(7).normal(scale=50, size=shape).astype(dtype)


SHAPES = [(0, 4), (1, 1), (1, 4096), (3, 1), (5, 3), (101, 7), (0,), (1,), (37,), ()]
DTYPES = ["float64", "float32", "float16", ml_dtypes.bfloat16, "int64", "int8", "uint8", "bool"]


@pytest.mark.parametrize("form", ["sharded", "tensor"])
@pytest.mark.parametrize("limit", [100, 1 << 20])
def test_what_is_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, limit: int) -> None:
    monkeypatch.setattr(layout, "PIECE_BYTES", limit)
    monkeypatch.setattr(layout, "OBJECT_BYTES", limit * 3)
    arrays = {
        f"model/{np.dtype(dtype).name}.{'x'.join(map(str, shape))}": random_array(shape, dtype)
        for shape in SHAPES
        for dtype in DTYPES
    }
    written = write_snapshot(
        open_store(str(tmp_path)),
        [array_to_write(path, array, form) for path, array in arrays.items()],
        plan_digest=DIGEST,
        block_bytes=64,
        threads=3,
    )
    snapshot = open_snapshot(written.uri)
    assert snapshot.findings == ()
    for path, array in arrays.items():
        stored = snapshot.array(path)
        assert (stored.shape, stored.dtype.name) == (array.shape, array.dtype.name)
        found = np.empty((snapshot.reader(stored).num_rows, snapshot.reader(stored).dim), array.dtype)
        snapshot.reader(stored).read(0, len(found), found)
        assert found.tobytes() == array.tobytes()


def test_a_table_with_its_state_is_found_as_one(tmp_path: Path) -> None:
    weight, momentum = random_array((100, 8)), random_array((100,))
    state = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
    written = write_snapshot(
        open_store(str(tmp_path)),
        [array_to_write(WEIGHT, weight), array_to_write(state, momentum, "tensor")],
        plan_digest=DIGEST,
        values={"extra_state/step": 7, "extra_state/walltime": 2.5},
    )
    snapshot = open_snapshot(written.uri)
    table = snapshot.table("user")
    assert (table.num_embeddings, table.embedding_dim) == (100, 8)
    assert [(one.name, one.array.shape) for one in table.state] == [("momentum1", (100,))]
    assert read_array(snapshot, table.weight).tobytes() == weight.tobytes()
    assert (snapshot.value("extra_state/step"), snapshot.value("extra_state/walltime")) == (7, 2.5)


def test_the_metadata_to_the_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "PIECE_BYTES", 16)
    arrays = [
        array_to_write("model/a%2Fb.weight", random_array((3, 2))),
        array_to_write("optimizer/state/a%2Fb.weight/m", random_array((5,)), "tensor"),
        array_to_write("optimizer/state/a%2Fb.weight/step", random_array(()), "tensor"),
    ]
    write_snapshot(open_store(str(tmp_path)), arrays, plan_digest=DIGEST, values={"extra_state/step": 7})
    place = "embsnap/0123456789ab-0/00000"

    def tensor(shape: list[int], start: int, end: int, replicated: bool) -> dict[str, Any]:
        return {
            "type": "Tensor",
            "location": place,
            "serializer": "buffer_protocol",
            "dtype": "torch.float32",
            "shape": shape,
            "replicated": replicated,
            "byte_range": [start, end],
        }

    def shard(offsets: list[int], sizes: list[int], start: int, end: int) -> dict[str, Any]:
        return {"offsets": offsets, "sizes": sizes, "tensor": tensor(sizes, start, end, False)}

    expected = {
        "version": "0.1.0",
        "world_size": 1,
        "manifest": {
            "0/extra_state": {"type": "dict", "keys": ["step"]},
            "0/model": {"type": "OrderedDict", "keys": ["a/b.weight"]},
            "0/optimizer": {"type": "dict", "keys": ["state"]},
            "0/optimizer/state": {"type": "dict", "keys": ["a/b.weight"]},
            "0/optimizer/state/a%2Fb.weight": {"type": "dict", "keys": ["m", "step"]},
            "0/extra_state/step": {"type": "int", "serialized_value": "7", "replicated": True, "readable": None},
            "0/model/a%2Fb.weight": {
                "type": "ShardedTensor",
                "shards": [shard([0, 0], [2, 2], 0, 16), shard([2, 0], [1, 2], 64, 72)],
            },
            "0/optimizer/state/a%2Fb.weight/m": {
                "type": "ChunkedTensor",
                "dtype": "torch.float32",
                "shape": [5],
                "chunks": [shard([0], [3], 128, 140), shard([3], [2], 192, 200)],
                "replicated": True,
            },
            "0/optimizer/state/a%2Fb.weight/step": tensor([], 256, 260, True),
        },
    }
    assert (tmp_path / ".snapshot_metadata").read_text() == json.dumps(expected, indent=2)


def test_the_sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "OBJECT_BYTES", 500)
    lineage = Lineage((Parent("/old", "0" * 64),), "embsnap warmstart x", DIGEST, {"user": {"carried": 3}})
    vocabularies = {"user": TableVocabulary("/vocab", "v1:int64:3:" + "0" * 32)}
    arrays = [array_to_write(f"model/t{index}.weight", random_array((10, 9))) for index in range(3)]
    store = open_store(str(tmp_path))
    written = write_snapshot(store, arrays, plan_digest=DIGEST, vocabularies=vocabularies, lineage=lineage)
    metadata = (tmp_path / ".snapshot_metadata").read_bytes()
    sidecar = parse_sidecar((tmp_path / sidecar_location(metadata)).read_bytes())
    assert sidecar.metadata_sha256 == written.metadata_sha256 == hashlib.sha256(metadata).hexdigest()
    assert (sidecar.lineage, sidecar.tables) == (lineage, vocabularies)
    assert len(sidecar.objects) == 3
    for location, sums in sidecar.objects.items():
        assert sums == sums_of((tmp_path / location).read_bytes())
    objects = [found for found in store.list("embsnap/") if not found.location.endswith("run.json")]
    assert sorted(sidecar.objects) == [found.location for found in objects]
    assert written.num_bytes == sum(found.size for found in objects) == 3 * 360
    assert open_snapshot(str(tmp_path)).sidecar == sidecar


def test_objects_come_first_and_the_metadata_last() -> None:
    order: list[str] = []
    store = FaultStore(
        MemoryStore("memory://order"), Fault("create", order.append), Fault("close", order.append, when="after")
    )
    store.inner.clear()  # type: ignore[attr-defined]
    arrays = [array_to_write(f"model/{name}", random_array((4, 4))) for name in "ab"]
    written = write_snapshot(store, arrays, plan_digest=DIGEST)
    run = f"embsnap/{written.run_id}"
    sidecar = f".embsnap/{written.metadata_sha256[:16]}.json"
    assert order == [f"{run}/run.json", f"{run}/00000", sidecar, ".snapshot_metadata"]


class RecordingRows:
    """Remembers how it was read."""

    def __init__(self, rows_VD: NDArray[Any]) -> None:
        self.rows_VD = rows_VD
        self.num_rows, self.dim = rows_VD.shape
        self.dtype = rows_VD.dtype
        self.lock = Lock()
        self.reads: list[tuple[int, int, int]] = []

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        assert out_ND.shape == (end - start, self.dim)
        assert out_ND.flags.c_contiguous
        with self.lock:
            self.reads.append((start, end, out_ND.ctypes.data))
        out_ND[...] = self.rows_VD[start:end]


@pytest.mark.parametrize(("block_bytes", "most_rows"), [(1, 1), (64, 1), (65, 1), (200, 3), (1 << 20, 250)])
def test_each_row_is_read_once_in_blocks_of_the_given_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, most_rows: int
) -> None:
    monkeypatch.setattr(layout, "PIECE_BYTES", 64 * 250)
    monkeypatch.setattr(layout, "OBJECT_BYTES", 64 * 250)
    rows = RecordingRows(random_array((1000, 16)))
    array = ArrayToWrite(WEIGHT, from_numpy(rows.dtype), (1000, 16), rows)
    write_snapshot(open_store(str(tmp_path)), [array], plan_digest=DIGEST, threads=2, block_bytes=block_bytes)
    reads = sorted(rows.reads)
    assert [row for start, end, _ in reads for row in range(start, end)] == list(range(1000))
    assert max(end - start for start, end, _ in reads) == most_rows
    assert len({address for _, _, address in reads}) <= 2 * 2
    snapshot = open_snapshot(str(tmp_path))
    assert read_array(snapshot, snapshot.table("user").weight).tobytes() == rows.rows_VD.tobytes()


class CountingProgress:
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.finished: list[str] = []

    def start(self, task: str, total: int, unit: str = "B") -> None:
        self.totals[task] += total

    def advance(self, task: str, amount: int) -> None:
        self.done[task] += amount

    def finish(self, task: str) -> None:
        self.finished.append(task)


def test_progress_is_told_of_every_byte(tmp_path: Path) -> None:
    progress = CountingProgress()
    arrays = [array_to_write("model/a", random_array((5, 3))), array_to_write("model/b", random_array((5, 3)))]
    write_snapshot(open_store(str(tmp_path)), arrays, plan_digest=DIGEST, progress=progress, block_bytes=16)
    assert progress.totals == progress.done == {"writing": 120}
    assert progress.finished == ["writing"]


def test_values_alone_are_a_snapshot(tmp_path: Path) -> None:
    written = write_snapshot(open_store(str(tmp_path)), [], plan_digest=DIGEST, values={"extra_state/s": "x"})
    assert written.num_bytes == 0
    assert open_snapshot(str(tmp_path)).value("extra_state/s") == "x"


def test_two_runs_of_one_plan_differ_in_locations_alone(tmp_path: Path) -> None:
    arrays = [array_to_write(WEIGHT, random_array((10, 4)))]
    documents = []
    for name, leftover in (("a", False), ("b", True)):
        store = open_store(str(tmp_path / name))
        if leftover:
            store.create("embsnap/0123456789ab-0/run.json", b"{}")
        documents.append((write_snapshot(store, arrays, plan_digest=DIGEST).run_id, tmp_path / name))
    (first_id, first), (second_id, second) = documents
    assert (first_id, second_id) == ("0123456789ab-0", "0123456789ab-1")
    metadata = (first / ".snapshot_metadata").read_text()
    assert metadata.replace(first_id, second_id) == (second / ".snapshot_metadata").read_text()
    assert (first / f"embsnap/{first_id}/00000").read_bytes() == (second / f"embsnap/{second_id}/00000").read_bytes()

"""The largest manifests, the longest tables, the smallest ones, and the oddest names."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.kernels.rows import check_rows
from embsnap.model.verification import Level
from embsnap.ops.inspect import inspect
from embsnap.ops.verify.verify import VerifyOptions, verify
from embsnap.testing.corruptors import edit_entry
from embsnap.testing.manifests import write_wide_metadata
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import read_array, write_arrays

PATH = "model/ebc.embedding_bags.user.weight"
MANY = 1 << 33

_INSPECT = """
import json, re, sys, time
started = time.process_time()
from embsnap.ops.inspect import inspect
found = inspect(sys.argv[1])
seconds = time.process_time() - started
(peak_kb,) = re.findall(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps([len(found.tables), len(found.findings), seconds, int(peak_kb) * 1024]))
"""


def inspected(root):
    """Tables, findings, CPU seconds and peak memory of a process that inspects."""
    run = subprocess.run([sys.executable, "-c", _INSPECT, str(root)], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def parse_s(root):
    """CPU seconds that Python's own JSON parser needs for the metadata, as a measure of this machine."""
    data = (root / ".snapshot_metadata").read_bytes()
    started = time.process_time()
    json.loads(data)
    return time.process_time() - started


@pytest.mark.parametrize(
    ("num_tables", "num_ranks"),
    [(10_000, 1), (20, 1000), pytest.param(200, 1000, marks=pytest.mark.slow)],
)
def test_wide_manifests(tmp_path, num_tables, num_ranks):
    num_bytes = write_wide_metadata(tmp_path, num_tables=num_tables, num_ranks=num_ranks)
    found_tables, num_findings, cpu_s, peak_bytes = inspected(tmp_path)
    assert (found_tables, num_findings) == (num_tables, 0)
    assert cpu_s < 1 + 15 * parse_s(tmp_path)
    assert peak_bytes < 60_000_000 + 6 * num_bytes


def test_metadata_beyond_1_gib_is_refused_unread(tmp_path):
    with (tmp_path / ".snapshot_metadata").open("wb") as file:
        file.truncate((1 << 30) + 1)
    started = time.process_time()
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(str(tmp_path))
    assert caught.value.kind is ErrorKind.METADATA_TOO_LARGE
    assert time.process_time() - started < 1


@pytest.fixture
def long_table(tmp_path):
    """2^33 rows of one byte in two sparse objects; the rows around 2^31, 2^32 and at the end are not zero."""
    builder = SnapshotBuilder(world_size=2, batched=False)
    half = MANY // 2
    for rank in range(2):
        tensor = {
            "type": "Tensor",
            "location": f"sharded/{PATH}_{rank * half}_0",
            "serializer": "buffer_protocol",
            "dtype": "torch.uint8",
            "shape": [half, 1],
            "replicated": False,
            "byte_range": None,
        }
        shard = {"offsets": [rank * half, 0], "sizes": [half, 1], "tensor": tensor}
        builder.entry(f"{rank}/{PATH}", {"type": "ShardedTensor", "shards": [shard]})
        file = tmp_path / tensor["location"]
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            opened.truncate(half)
            for row in ROWS_WITH_VALUES:
                if rank * half <= row < (rank + 1) * half:
                    opened.seek(row - rank * half)
                    opened.write(bytes([row % 251 + 1]))
    return builder.write(tmp_path)


ROWS_WITH_VALUES = (0, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, MANY - 1)


def test_a_table_of_2_to_the_33_rows(long_table):
    snapshot = open_snapshot(str(long_table))
    table = snapshot.table("user")
    assert table.num_embeddings == MANY
    assert inspect(str(long_table)).tables[0].num_bytes == MANY
    reader = snapshot.reader(table.weight)
    rows_N = np.array([*ROWS_WITH_VALUES, 5], np.int64)
    picked = np.empty((len(rows_N), 1), np.uint8)
    reader.gather(rows_N, picked)
    assert picked[:, 0].tolist() == [*(row % 251 + 1 for row in ROWS_WITH_VALUES), 0]
    for row in ROWS_WITH_VALUES:
        start, end = max(0, row - 1), min(MANY, row + 1)
        read = np.empty((end - start, 1), np.uint8)
        reader.read(start, end, read)
        assert read[row - start, 0] == row % 251 + 1
    assert verify(str(long_table), VerifyOptions(level=Level.BYTES)).ok


def test_rows_of_a_vocabulary_of_that_size():
    rows_N = np.array([0, 2**31, 2**32, MANY - 1, MANY, 2**32], np.int64)
    found = check_rows(rows_N, MANY)
    assert (found.max_row, found.num_out_of_range, found.num_duplicates) == (MANY, 1, 1)
    assert found.num_gap_rows == MANY - 4


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (1, 4096), (5, 1), (3, 4096)])
def test_small_and_wide_tables(tmp_path, shape):
    rows = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    write_arrays(str(tmp_path), {"user": rows})
    assert np.array_equal(read_array(str(tmp_path), "user"), rows)
    assert verify(str(tmp_path)).ok


@pytest.mark.parametrize("name", ["two words", "größe", "日本", "50%", "%2F", "a%20b", "-", "'\"", "\t", "x" * 200])
def test_odd_names(embsnap, tmp_path, name):
    rows = np.ones((3, 2), np.float32)
    builder = SnapshotBuilder()
    escaped = name.replace("%", "%25")
    builder.tensor(f"model/ebc.embedding_bags.{escaped}.weight", rows)
    builder.value("extra_state/a%2Fb", 3)
    root = builder.write(tmp_path / name.replace("/", "_"))
    assert open_snapshot(str(root)).table(name).num_embeddings == 3
    assert embsnap("inspect", root, "--", name).exit_code == 0
    assert embsnap("verify", root).exit_code == 0


def test_a_slash_in_a_key(tmp_path):
    builder = SnapshotBuilder()
    builder.tensor("model/a%2Fb.embedding_bags.user.weight", np.ones((3, 2), np.float32))
    root = builder.write(tmp_path)
    assert open_snapshot(str(root)).table("a/b.embedding_bags.user.weight").num_embeddings == 3
    assert verify(str(root)).ok


def test_shapes_whose_product_overflows(tmp_path):
    builder = SnapshotBuilder()
    builder.tensor(PATH, np.ones((3, 2), np.float32))
    root = builder.write(tmp_path)
    edit_entry(root, f"0/{PATH}", lambda entry: entry.update(shape=[2**62, 2**62], byte_range=None))
    found = verify(str(root))
    assert {finding.kind for finding in found.findings} == {"short-object"}

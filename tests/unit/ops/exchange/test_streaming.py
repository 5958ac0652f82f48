"""Tables larger than the memory that there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embsnap.formats.dtypes import from_numpy
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.exchange import ExchangeFormat
from embsnap.storage.uri import open_store

NUM_BYTES, DIM = 160 << 20, 1024
LIMIT = 64 << 20


class _Counted:
    """Rows made from their number."""

    dim, dtype = DIM, np.dtype(np.float32)

    def __init__(self, num_rows):
        self.num_rows = num_rows

    def read(self, start, end, out_ND):
        out_ND[...] = np.arange(start, end, dtype=np.float32)[:, None]


def _write(uri, num_rows):
    weight = "model/ebc.embedding_bags.user.weight"
    array = ArrayToWrite(weight, from_numpy(np.dtype(np.float32)), (num_rows, DIM), _Counted(num_rows))
    write_snapshot(open_store(uri), [array], plan_digest="0" * 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", [ExchangeFormat.PARQUET, ExchangeFormat.ARROW, ExchangeFormat.NPY, ExchangeFormat.SAFETENSORS]
)
def test_it_takes_less_memory_than_the_table(target, tmp_path):
    num_rows = NUM_BYTES // (4 * DIM)
    _write(f"{tmp_path}/small", 2000)
    _write(f"{tmp_path}/large", num_rows)
    script = Path(__file__).with_name("stream_one.py")
    command = [sys.executable, str(script), str(tmp_path), target.value, str(LIMIT)]
    subprocess.run(command, check=True, timeout=300)
    snapshot = open_snapshot(f"{tmp_path}/large-{target}-back")
    reader: ArrayReader = snapshot.reader(snapshot.table("user").weight)
    last_ND = np.empty((2, DIM), np.float32)
    reader.read(num_rows - 2, num_rows, last_ND)
    assert last_ND[:, [0, -1]].tolist() == [[num_rows - 2] * 2, [num_rows - 1] * 2]

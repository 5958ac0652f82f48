"""Files to import that are cut, flipped or made to attack their reader: an error that names them, never more."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from embsnap.errors import EmbsnapError, SnapshotError
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.exchange import ExchangeFormat
from embsnap.ops.export.options import ExportOptions
from embsnap.ops.export.plan import plan_export
from embsnap.ops.export.writing import write_export
from embsnap.ops.importing.options import ImportOptions
from embsnap.ops.importing.plan import plan_import
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """One file of each format."""
    root = tmp_path_factory.mktemp("exported")
    write_arrays(f"{root}/run", {"user": np.arange(32, dtype=np.float32).reshape(8, 4)})
    write_vocabulary(make_vocabulary(["a", "bb", "ccc", "dd"]), f"{root}/vocab.parquet")
    options = {"vocab": {"user": f"{root}/vocab.parquet"}}
    for target in ExchangeFormat:
        write_export(plan_export(f"{root}/run", f"{root}/user{target.suffix}", ExportOptions(format=target, **options)))
    return root


def _read_all(path, tmp_path):
    plan = plan_import({"user": str(path)}, None, ImportOptions(vocab_out=f"{tmp_path}/v"))
    for table in plan.tables:
        table.rows.vectors.prepare()
        rows_VD = np.empty((table.table.num_embeddings, table.table.dim), table.rows.dtype)
        table.rows.read(0, len(rows_VD), rows_VD)


@pytest.mark.parametrize("target", ExchangeFormat)
def test_every_cut_and_many_flips(exported, target, tmp_path):
    data = (exported / f"user{target.suffix}").read_bytes()
    path = tmp_path / f"user{target.suffix}"
    rng = random.Random(0)
    cuts = [data[:length] for length in sorted(rng.sample(range(len(data)), min(60, len(data))))]
    flips = []
    for _ in range(250):
        flipped = bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 8])):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        flips.append(bytes(flipped))
    messages = []
    for changed in [*cuts, *flips]:
        path.write_bytes(changed)
        try:
            _read_all(path, tmp_path)
        except EmbsnapError as error:
            messages.append(str(error))
    assert len(messages) >= len(cuts) // 2
    assert [message for message in messages if "user" not in message] == []


def _safetensors(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _npy(header):
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w.safetensors", b""),
        ("w.safetensors", (1 << 62).to_bytes(8, "little") + b"{}"),
        ("w.safetensors", _safetensors(b"[" * 100_000)),
        ("w.safetensors", _safetensors([])),
        ("w.safetensors", _safetensors({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}})),
        ("w.safetensors", _safetensors({"w": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 0]}})),
        ("w.safetensors", _safetensors({"w": {"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]}}, bytes(16))),
        ("w.safetensors", _safetensors({"w": {"dtype": "F32", "shape": [1, 4], "data_offsets": [-16, 0]}}, bytes(16))),
        ("w.safetensors", _safetensors({"w": 7, "__metadata__": 3})),
        ("w.npy", b""),
        ("w.npy", _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 99999999), }\n")),
        ("w.npy", _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }\n") + b"cos\nsystem\n."),
        ("w.npy", _npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }\n") + bytes(8)),
        ("w.npy", _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n") + bytes(8)),
        ("w.npy", _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }\n")),
        ("w.npy", _npy("__import__('os')\n")),
        ("w.bin", b""),
        ("w.bin", b"2 2\nab"),
        ("w.bin", b"1 99999999999\na "),
        ("w.bin", b"99999999999 2\na " + bytes(8)),
        ("w.arrow", b"ARROW1\0\0" + bytes(100)),
        ("w.csv", b""),
        ("w.csv", b"id,row\n1,2\n"),
        ("w.csv", b"id,v0,v0\n1,2,3\n"),
        ("w.csv", b"id,row,v0\n1,2\n"),
        ("w.csv", b"id,row,v0\n1,-2,3\n"),
        ("w.csv", b"\xff\xfe,v0\n1,2\n"),
    ],
)
def test_hostile_files(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SnapshotError) as caught:
        _read_all(tmp_path / name, tmp_path)
    assert caught.value.kind == "bad-export"
    assert name in str(caught.value)


def test_what_stands_beside_a_matrix_must_fit_it(tmp_path):
    np.save(tmp_path / "w.npy", np.zeros((3, 2), np.float32))
    np.save(tmp_path / "w.rows.npy", np.arange(2))
    with pytest.raises(SnapshotError, match="does not fit the matrix"):
        _read_all(tmp_path / "w.npy", tmp_path)
    np.save(tmp_path / "w.rows.npy", np.array([0, 1, -1]))
    with pytest.raises(SnapshotError, match="rows that no table has"):
        _read_all(tmp_path / "w.npy", tmp_path)

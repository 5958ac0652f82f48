"""Metadata is written as torchsnapshot 0.1.0 writes it, and comes back the same."""

from __future__ import annotations

import json
import math

import pytest

from embsnap.formats.torchsnapshot.encoding import encode_metadata, primitive_entry
from embsnap.formats.torchsnapshot.metadata import parse_metadata
from embsnap.formats.torchsnapshot.primitives import parse_primitive
from embsnap.model.manifest import Manifest

# As torchsnapshot 0.1.0 wrote them, and its main branch in the case of DTensor; the last has fields of a later day.
ENTRIES = {
    "0/s": {"type": "dict", "keys": ["a_int", 3, "k/ey%41 x"]},
    "0/model": {"type": "OrderedDict", "keys": ["dense.bias"]},
    "0/s/lst": {"type": "list"},
    "0/s/a_int": {"type": "int", "serialized_value": "7", "replicated": False, "readable": None},
    "0/s/a_str": {"type": "str", "serialized_value": "hé/llo\n", "replicated": False, "readable": None},
    "0/s/a_float": {"type": "float", "serialized_value": "mpmZmZmZuT8=", "replicated": True, "readable": "0.1"},
    "0/s/t": {
        "type": "Tensor",
        "location": "batched/d6ee7216",
        "serializer": "buffer_protocol",
        "dtype": "torch.float32",
        "shape": [2, 3],
        "replicated": False,
        "byte_range": [32, 56],
    },
    "0/s/c": {
        "type": "Tensor",
        "location": "0/s/c",
        "serializer": "torch_save",
        "dtype": "torch.complex64",
        "shape": [2],
        "replicated": False,
        "byte_range": None,
    },
    "0/s/none": {
        "type": "object",
        "location": "0/s/none",
        "serializer": "torch_save",
        "obj_type": "builtins.NoneType",
        "replicated": False,
    },
    "0/s/later": {"type": "Novel", "keys": [{"a": 1.5}]},
    "0/s/extra": {"type": "int", "serialized_value": "7", "replicated": False, "readable": None, "unit": "d"},
}


def _shard(offsets: list[int], sizes: list[int]) -> dict[str, object]:
    tensor = {**ENTRIES["0/s/t"], "shape": sizes, "byte_range": [0, 4 * math.prod(sizes)]}
    return {"offsets": offsets, "sizes": sizes, "tensor": tensor}


SHARDED = {
    "0/m/w": {"type": "ShardedTensor", "shards": [_shard([0, 0], [5, 8]), _shard([5, 0], [5, 8])]},
    "0/m/e": {"type": "ShardedTensor", "shards": []},
    "0/m/c": {
        "type": "ChunkedTensor",
        "dtype": "torch.float32",
        "shape": [6],
        "chunks": [_shard([0], [4]), _shard([4], [2])],
        "replicated": True,
    },
    "0/m/d": {"type": "DTensor", "shards": [_shard([0, 0], [3, 4])], "mesh": [0, 1], "dim_map": [[0], [-1]]},
}


def test_bytes_come_back_as_they_were() -> None:
    document = {"version": "0.1.0", "world_size": 1, "manifest": {**ENTRIES, **SHARDED}, "later": {"x": 1}}
    data = json.dumps(document, indent=2).encode()
    manifest = parse_metadata(data, where="test")
    assert encode_metadata(manifest) == data
    assert parse_metadata(encode_metadata(manifest), where="test") == manifest


@pytest.mark.parametrize(
    "value",
    [0, -7, 1 << 100, True, False, "", "h\xe9/%\n", b"", b"\0\xff", 0.1, -0.0, math.inf, 5e-324],
    ids=repr,
)
def test_values_come_back_as_they_were(value: int | float | str | bytes) -> None:
    manifest = Manifest("0.1.0", 1, {"0/s/x": primitive_entry(value, replicated=True)})
    entry = parse_metadata(encode_metadata(manifest), where="test").entries["0/s/x"]
    assert entry == manifest.entries["0/s/x"]
    found = parse_primitive(entry, where="0/s/x")  # type: ignore[arg-type]
    assert (type(found), repr(found)) == (type(value), repr(value))


def test_nan_survives() -> None:
    entry = primitive_entry(math.nan, replicated=False)
    assert entry.readable == "nan"
    assert math.isnan(float(parse_primitive(entry, where="x")))

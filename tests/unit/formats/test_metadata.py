from __future__ import annotations

import json

import pytest

from embsnap.formats.torchsnapshot.metadata import parse_metadata
from embsnap.model.manifest import (
    ChunkedTensorEntry,
    ContainerEntry,
    DTensorEntry,
    ObjectEntry,
    PrimitiveEntry,
    Shard,
    ShardedTensorEntry,
    TensorEntry,
    UnknownEntry,
    is_replicated,
)

TENSOR = {
    "type": "Tensor",
    "location": "batched/a",
    "serializer": "buffer_protocol",
    "dtype": "torch.float32",
    "shape": [2, 3],
    "replicated": False,
    "byte_range": [8, 32],
}
SHARD = {"offsets": [4, 0], "sizes": [2, 3], "tensor": TENSOR}
PARSED = TensorEntry("batched/a", "buffer_protocol", "torch.float32", (2, 3), False, (8, 32))


def parse(entry):
    """One entry of JSON metadata."""
    metadata = {"version": "0.1.0", "world_size": 1, "manifest": {"0/x": entry}}
    return parse_metadata(json.dumps(metadata).encode(), where="here").entries["0/x"]


@pytest.mark.parametrize(
    ("fields", "entry"),
    [
        (TENSOR, PARSED),
        (
            {**TENSOR, "byte_range": None},
            TensorEntry(*("batched/a", "buffer_protocol", "torch.float32"), (2, 3), False, None),
        ),
        (
            {"type": "ChunkedTensor", "dtype": "torch.float32", "shape": [6, 3], "chunks": [SHARD], "replicated": True},
            ChunkedTensorEntry("torch.float32", (6, 3), (Shard((4, 0), (2, 3), PARSED),), True),
        ),
        ({"type": "ShardedTensor", "shards": [SHARD]}, ShardedTensorEntry((Shard((4, 0), (2, 3), PARSED),))),
        ({"type": "ShardedTensor", "shards": []}, ShardedTensorEntry(())),
        (
            {"type": "DTensor", "shards": [SHARD], "mesh": [[0, 1]], "dim_map": [[0], [-1]]},
            DTensorEntry((Shard((4, 0), (2, 3), PARSED),), [[0, 1]], ((0,), (-1,))),
        ),
        ({"type": "dict", "keys": ["a", 1, True]}, ContainerEntry("dict", ("a", 1, True))),
        ({"type": "OrderedDict", "keys": []}, ContainerEntry("OrderedDict", ())),
        ({"type": "list"}, ContainerEntry("list", ())),
        (
            {"type": "int", "serialized_value": "7", "replicated": False, "readable": None},
            PrimitiveEntry("int", "7", False, None),
        ),
        (
            {"type": "object", "location": "0/x", "serializer": "torch_save", "obj_type": "t", "replicated": False},
            ObjectEntry("0/x", "torch_save", "t", False),
        ),
        (
            {"type": "torch.Tensor", "location": "0/x", "replicated": False},
            ObjectEntry("0/x", "torch_save", "torch.Tensor", False),
        ),
        ({"type": "Hologram", "a": [1]}, UnknownEntry("Hologram", {"type": "Hologram", "a": [1]}, None)),
        ({"a": 1}, UnknownEntry("", {"a": 1}, "has no type")),
    ],
)
def test_each_kind_of_entry(fields, entry):
    assert parse(fields) == entry


@pytest.mark.parametrize(
    "fields",
    [
        {**TENSOR, "digest": "x"},
        {"type": "ShardedTensor", "shards": [], "digest": "x"},
        {"type": "ChunkedTensor", "dtype": "torch.int8", "shape": [], "chunks": [], "replicated": False, "digest": "x"},
        {"type": "DTensor", "shards": [], "mesh": [], "dim_map": [], "digest": "x"},
        {"type": "dict", "keys": [], "digest": "x"},
        {"type": "list", "digest": "x"},
        {"type": "int", "serialized_value": "7", "replicated": False, "digest": "x"},
        {"type": "object", "location": "a", "serializer": "s", "obj_type": "t", "replicated": False, "digest": "x"},
    ],
    ids=lambda fields: fields["type"],
)
def test_unknown_fields_are_kept(fields):
    assert parse(fields).extra == {"digest": "x"}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"type": "dict", "keys": [None]}, "field keys is [None]"),
        ({"type": "dict"}, "field keys is missing, not list"),
        ({"type": "int", "serialized_value": 7, "replicated": False}, "field serialized_value is 7, not str"),
        ({**TENSOR, "replicated": "no"}, "field replicated is 'no', not bool"),
        ({**TENSOR, "shape": [True]}, "field shape is [True]"),
        ({"type": "DTensor", "shards": [], "mesh": [], "dim_map": [0]}, "field dim_map is [0]"),
        ({"type": "ShardedTensor", "shards": [7]}, "a shard is 7, not a mapping"),
    ],
)
def test_impossible_fields_are_kept_with_the_reason(fields, problem):
    entry = parse(fields)
    assert entry.fields == fields
    assert problem in entry.problem


def test_a_long_value_is_quoted_in_short():
    assert len(parse({"type": "dict", "keys": "x" * 10_000}).problem) < 100


def test_replication():
    assert is_replicated(parse({**TENSOR, "replicated": True}))
    assert not is_replicated(parse(TENSOR))
    assert not is_replicated(parse({"type": "dict", "keys": []}))


@pytest.mark.parametrize("text", ["{}", "\n {}"])
def test_json_is_told_by_its_first_character(text):
    metadata = text.replace("{}", '{"version": "1", "world_size": 2, "manifest": {"1/a": {"type": "list"}}, "more": 3}')
    manifest = parse_metadata(metadata.encode(), where="here")
    assert (manifest.version, manifest.world_size, manifest.extra) == ("1", 2, {"more": 3})
    assert list(manifest.entries) == ["1/a"]


def test_yaml_gives_the_same_manifest():
    text = """\
version: 0.0.3
world_size: 1
manifest:
  0/x:
    type: Tensor
    location: batched/a
    serializer: buffer_protocol
    dtype: torch.float32
    shape:
    - 2
    - 3
    replicated: false
    byte_range: [8, 32]
  ? 0/it's "a key"
  : type: int
    serialized_value: '7'
    readable: null
    replicated: false
"""
    entries = parse_metadata(text.encode(), where="here").entries
    assert entries == {"0/x": PARSED, '0/it\'s "a key"': PrimitiveEntry("int", "7", False, None)}

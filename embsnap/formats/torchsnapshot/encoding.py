"""A manifest as the bytes of a `.snapshot_metadata`, byte for byte as torchsnapshot 0.1.0 lays it out."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any, assert_never

from embsnap.model.manifest import (
    ChunkedTensorEntry,
    ContainerEntry,
    DTensorEntry,
    Entry,
    Manifest,
    ObjectEntry,
    PrimitiveEntry,
    Shard,
    ShardedTensorEntry,
    TensorEntry,
    UnknownEntry,
)

__all__ = ["encode_metadata", "primitive_entry"]

Primitive = int | float | str | bool | bytes


def encode_metadata(manifest: Manifest) -> bytes:
    """JSON, ASCII, indented by two, fields in torchsnapshot's order, unknown fields last.

    `parse_metadata` gives the same manifest back.
    """
    entries = {path: _entry(entry) for path, entry in manifest.entries.items()}
    fields = {"version": manifest.version, "world_size": manifest.world_size, "manifest": entries, **manifest.extra}
    return json.dumps(fields, indent=2, allow_nan=False).encode()


def primitive_entry(value: Primitive, *, replicated: bool) -> PrimitiveEntry:
    """The entry that holds a plain value in the manifest itself.

    Floats are stored as the base64 of their eight little-endian bytes, so that NaN and infinities survive.
    """
    if isinstance(value, bytes):
        serialized = base64.b64encode(value).decode()
    elif isinstance(value, float):
        serialized = base64.b64encode(struct.pack("<d", value)).decode()
    else:
        serialized = str(value)
    readable = str(value) if isinstance(value, float) else None
    return PrimitiveEntry(type(value).__name__, serialized, replicated, readable)


def _entry(entry: Entry) -> Mapping[str, Any]:
    match entry:
        case UnknownEntry():
            return entry.fields
        case ContainerEntry():
            keys = {} if entry.type == "list" else {"keys": list(entry.keys)}
            return {"type": entry.type, **keys, **entry.extra}
        case TensorEntry():
            return _tensor(entry)
        case ShardedTensorEntry():
            return {"type": entry.type, "shards": _shards(entry.shards), **entry.extra}
        case ChunkedTensorEntry():
            return _chunked(entry)
        case DTensorEntry():
            dim_map = [list(dims) for dims in entry.dim_map]
            fields = {"type": entry.type, "shards": _shards(entry.shards), "mesh": entry.mesh, "dim_map": dim_map}
            return {**fields, **entry.extra}
        case PrimitiveEntry():
            fields = {"type": entry.type, "serialized_value": entry.serialized_value, "replicated": entry.replicated}
            return {**fields, "readable": entry.readable, **entry.extra}
        case ObjectEntry():
            fields = {"type": entry.type, "location": entry.location, "serializer": entry.serializer}
            return {**fields, "obj_type": entry.obj_type, "replicated": entry.replicated, **entry.extra}
        case _:
            assert_never(entry)


def _tensor(entry: TensorEntry) -> Mapping[str, Any]:
    return {
        "type": entry.type,
        "location": entry.location,
        "serializer": entry.serializer,
        "dtype": entry.dtype,
        "shape": list(entry.shape),
        "replicated": entry.replicated,
        "byte_range": None if entry.byte_range is None else list(entry.byte_range),
        **entry.extra,
    }


def _chunked(entry: ChunkedTensorEntry) -> Mapping[str, Any]:
    return {
        "type": entry.type,
        "dtype": entry.dtype,
        "shape": list(entry.shape),
        "chunks": _shards(entry.chunks),
        "replicated": entry.replicated,
        **entry.extra,
    }


def _shards(shards: tuple[Shard, ...]) -> list[Mapping[str, Any]]:
    return [
        {
            "offsets": list(shard.offsets),
            "sizes": list(shard.sizes),
            "tensor": _tensor(shard.tensor),
            **shard.extra,
        }
        for shard in shards
    ]

"""Real snapshot directories, written entry by entry without torch, for tests.

Everything that torchsnapshot can write, and a good deal that it cannot: any ranks, any cut into shards, any entry form,
batched into slabs or not, JSON or YAML metadata.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import yaml
from numpy.typing import NDArray

from embsnap.formats.dtypes import from_numpy
from embsnap.model.paths import split_entry_path, unescape

__all__ = ["SnapshotBuilder", "row_shards"]

_Array = NDArray[Any]
_Shards = Mapping[int, Sequence[tuple[tuple[int, ...], tuple[int, ...]]]]
"""Rank → (offsets, sizes) of each of its shards."""


def row_shards(shape: tuple[int, ...], world_size: int) -> _Shards:
    """Row-wise shards as torchrec cuts them: equal blocks, of which the last may be short or missing."""
    block = -(-shape[0] // world_size)
    cuts = [(rank, rank * block, min((rank + 1) * block, shape[0])) for rank in range(world_size)]
    tail = (0,) * (len(shape) - 1)
    return {rank: [((start, *tail), (end - start, *shape[1:]))] if end > start else [] for rank, start, end in cuts}


@dataclass
class SnapshotBuilder:
    """Collects entries, then writes them with their objects and containers."""

    world_size: int = 1
    version: str = "0.1.0"
    batched: bool = True
    """Whether tensors share objects, as small ones do by default."""
    slab_bytes: int = 1 << 27
    """A slab is closed when it has reached this size."""
    _entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    _objects: dict[str, bytearray] = field(default_factory=dict)
    _slab: str = ""

    def tensor(self, path: str, array: _Array, *, rank: int = 0, replicated: bool = False) -> None:
        """A `Tensor` entry under one rank."""
        location = f"replicated/{path}" if replicated else f"{rank}/{path}"
        self._entries[f"{rank}/{path}"] = self._tensor(location, array, replicated)

    def chunked(self, path: str, array: _Array, *, num_rows: int, rank: int = 0, replicated: bool = False) -> None:
        """A `ChunkedTensor` entry under one rank, cut into chunks of `num_rows` rows."""
        tail = (0,) * (array.ndim - 1)
        boxes = [((start, *tail), array[start : start + num_rows].shape) for start in range(0, len(array), num_rows)]
        chunks = [self._shard(f"{rank}/{path}", array, offsets, sizes) for offsets, sizes in boxes]
        fields = {"dtype": _torch_dtype(array), "shape": list(array.shape), "chunks": chunks, "replicated": replicated}
        self._entries[f"{rank}/{path}"] = {"type": "ChunkedTensor", **fields}

    def sharded(self, path: str, array: _Array, shards: _Shards, *, dtensor: Mapping[str, Any] | None = None) -> None:
        """A `ShardedTensor` entry under each rank in `shards`, or a `DTensor` entry with the fields `dtensor`."""
        for rank, boxes in shards.items():
            own = [self._shard(f"sharded/{path}", array, offsets, sizes) for offsets, sizes in boxes]
            kind = "ShardedTensor" if dtensor is None else "DTensor"
            self._entries[f"{rank}/{path}"] = {"type": kind, "shards": own, **(dtensor or {})}

    def value(self, path: str, value: int | str | bool | bytes | float, *, rank: int = 0) -> None:
        """A primitive entry."""
        readable = str(value) if isinstance(value, float) else None
        fields = {"serialized_value": _serialized(value), "replicated": False, "readable": readable}
        self._entries[f"{rank}/{path}"] = {"type": type(value).__name__, **fields}

    def opaque(self, path: str, data: bytes, *, rank: int = 0, obj_type: str = "builtins.tuple") -> None:
        """An `object` entry with these bytes, which need be no pickle."""
        location = f"{rank}/{path}"
        self._objects[location] = bytearray(data)
        fields = {"location": location, "serializer": "torch_save", "obj_type": obj_type, "replicated": False}
        self._entries[location] = {"type": "object", **fields}

    def entry(self, path: str, fields: Mapping[str, Any]) -> None:
        """Any entry, under its full path."""
        self._entries[path] = dict(fields)

    def metadata(self) -> dict[str, Any]:
        """What `.snapshot_metadata` is to say, containers included."""
        manifest: dict[str, Any] = {}
        for path in self._entries:
            split = split_entry_path(path)
            if split is not None:
                self._add_containers(manifest, split[0], split[1])
        return {"version": self.version, "world_size": self.world_size, "manifest": {**manifest, **self._entries}}

    def write(self, root: Path, *, as_yaml: bool = False, commit: bool = True) -> Path:
        """Write objects, then the metadata unless `commit` is False; returns `root`."""
        root.mkdir(parents=True, exist_ok=True)
        for location, data in self._objects.items():
            target = root / location
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        if commit:
            fields = self.metadata()
            text = yaml.safe_dump(fields, sort_keys=False) if as_yaml else json.dumps(fields, indent=2)
            (root / ".snapshot_metadata").write_text(text)
        return root

    def _shard(self, base: str, array: _Array, offsets: tuple[int, ...], sizes: tuple[int, ...]) -> dict[str, Any]:
        box = tuple(slice(offset, offset + size) for offset, size in zip(offsets, sizes, strict=True))
        location = "_".join([base, *map(str, offsets)])
        return {"offsets": list(offsets), "sizes": list(sizes), "tensor": self._tensor(location, array[box], False)}

    def _tensor(self, location: str, array: _Array, replicated: bool) -> dict[str, Any]:
        data = array.tobytes()
        byte_range = None
        if self.batched:
            location, byte_range = self._append(data)
        else:
            self._objects[location] = bytearray(data)
        fields = {"serializer": "buffer_protocol", "dtype": _torch_dtype(array), "shape": list(array.shape)}
        return {"type": "Tensor", "location": location, **fields, "replicated": replicated, "byte_range": byte_range}

    def _append(self, data: bytes) -> tuple[str, list[int]]:
        if not self._slab or len(self._objects[self._slab]) >= self.slab_bytes:
            self._slab = f"batched/{uuid5(NAMESPACE_OID, str(len(self._objects)))}"
        slab = self._objects.setdefault(self._slab, bytearray())
        start = len(slab)
        slab += data
        return self._slab, [start, len(slab)]

    def _add_containers(self, manifest: dict[str, Any], rank: int, logical: str) -> None:
        parts = logical.split("/")
        for depth in range(1, len(parts)):
            above = f"{rank}/{'/'.join(parts[:depth])}"
            kind = "OrderedDict" if parts[:depth] == ["model"] else "dict"
            keys = manifest.setdefault(above, {"type": kind, "keys": []})["keys"]
            if unescape(parts[depth]) not in keys:
                keys.append(unescape(parts[depth]))


def _torch_dtype(array: _Array) -> str:
    return from_numpy(array.dtype).torch_name


def _serialized(value: int | str | bool | bytes | float) -> str:
    if isinstance(value, float):
        return base64.b64encode(struct.pack("<d", value)).decode()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)

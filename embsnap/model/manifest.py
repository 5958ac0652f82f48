"""The manifest of a snapshot: one value for each kind of entry that torchsnapshot writes, 0.1.0 and its main branch.

Fields carry torchsnapshot's names. What an entry holds beyond them is kept in `extra`; an entry of another type, or one
whose fields cannot be right, is kept whole as an `UnknownEntry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = [
    "PRIMITIVE_TYPES",
    "ArrayEntry",
    "ChunkedTensorEntry",
    "ContainerEntry",
    "DTensorEntry",
    "Entry",
    "Manifest",
    "ObjectEntry",
    "PrimitiveEntry",
    "Shard",
    "ShardedTensorEntry",
    "TensorEntry",
    "UnknownEntry",
    "is_replicated",
]

PRIMITIVE_TYPES = ("int", "str", "bool", "bytes", "float")

_Extra: TypeAlias = Mapping[str, Any]

_NOTHING: _Extra = {}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A whole tensor in one byte range."""

    location: str
    serializer: str
    """`buffer_protocol` (raw bytes) or `torch_save` (a pickle)."""
    dtype: str
    """`torch.float32`."""
    shape: tuple[int, ...]
    replicated: bool
    byte_range: tuple[int, int] | None
    """Half-open, in the object; None means the whole object."""
    extra: _Extra = field(default_factory=lambda: _NOTHING)

    @property
    def type(self) -> str:
        """`Tensor`."""
        return "Tensor"


@dataclass(frozen=True, slots=True)
class Shard:
    """A rectangle of a bigger tensor."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    tensor: TensorEntry
    extra: _Extra = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class ChunkedTensorEntry:
    """A tensor too large for one object, cut along its first dimension."""

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[Shard, ...]
    replicated: bool
    extra: _Extra = field(default_factory=lambda: _NOTHING)

    @property
    def type(self) -> str:
        """`ChunkedTensor`."""
        return "ChunkedTensor"


@dataclass(frozen=True, slots=True)
class ShardedTensorEntry:
    """One rank's shards of a tensor. It names neither the whole shape nor the dtype; the shards of all ranks do."""

    shards: tuple[Shard, ...]
    extra: _Extra = field(default_factory=lambda: _NOTHING)

    @property
    def type(self) -> str:
        """`ShardedTensor`."""
        return "ShardedTensor"


@dataclass(frozen=True, slots=True)
class DTensorEntry:
    """One rank's shards of a DTensor (torchsnapshot's main branch)."""

    shards: tuple[Shard, ...]
    mesh: Any
    """Nested lists of ranks."""
    dim_map: tuple[tuple[int, ...], ...]
    """For each dimension the mesh dimensions it is sharded over, or -1."""
    extra: _Extra = field(default_factory=lambda: _NOTHING)

    @property
    def type(self) -> str:
        """`DTensor`."""
        return "DTensor"


@dataclass(frozen=True, slots=True)
class ContainerEntry:
    """A `dict`, `OrderedDict` or `list`; its values are entries of their own."""

    type: str
    keys: tuple[str | int | bool, ...]
    """Unescaped, in order; empty for lists, whose length nothing records."""
    extra: _Extra = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class PrimitiveEntry:
    """An `int`, `str`, `bool`, `bytes` or `float`, in the manifest itself."""

    type: str
    serialized_value: str
    replicated: bool
    readable: str | None
    extra: _Extra = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """A pickled object. It is never opened."""

    location: str
    serializer: str
    obj_type: str
    replicated: bool
    extra: _Extra = field(default_factory=lambda: _NOTHING)

    @property
    def type(self) -> str:
        """`object`."""
        return "object"


@dataclass(frozen=True, slots=True)
class UnknownEntry:
    """An entry of a type that embsnap does not know, or of a known type with fields that cannot be right."""

    type: str
    fields: Mapping[str, Any]
    """As read, `type` included."""
    problem: str | None
    """What is wrong with a known type's fields; None for an unknown type."""


ArrayEntry: TypeAlias = TensorEntry | ChunkedTensorEntry | ShardedTensorEntry | DTensorEntry
Entry: TypeAlias = ArrayEntry | ContainerEntry | PrimitiveEntry | ObjectEntry | UnknownEntry


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `.snapshot_metadata` says."""

    version: str
    """Of torchsnapshot; its main branch still writes 0.1.0."""
    world_size: int
    entries: Mapping[str, Entry]
    """By entry path, in file order."""
    extra: _Extra = field(default_factory=lambda: _NOTHING)
    """Further top-level fields."""


def is_replicated(entry: Entry) -> bool:
    """True if the entry stands under one rank for all of them."""
    return isinstance(entry, TensorEntry | ChunkedTensorEntry | PrimitiveEntry | ObjectEntry) and entry.replicated

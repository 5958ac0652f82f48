"""From the plain values of a metadata file to manifest entries, with every field that is used checked for its type."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from embsnap.model.manifest import (
    PRIMITIVE_TYPES,
    ChunkedTensorEntry,
    ContainerEntry,
    DTensorEntry,
    Entry,
    ObjectEntry,
    PrimitiveEntry,
    Shard,
    ShardedTensorEntry,
    TensorEntry,
    UnknownEntry,
)

__all__ = ["parse_entry"]

_MAX_DIMENSIONS = 64
_NO_EXTRA: Mapping[str, Any] = {}


class _BadFieldError(Exception):
    pass


def parse_entry(fields: Mapping[str, Any]) -> Entry:
    """One entry.

    An unknown type, or a known one whose fields have the wrong types, comes back as an `UnknownEntry` that keeps all.

    Args:
        fields: As read: a mapping from strings, `type` among them.
    """
    kind = fields.get("type")
    if not isinstance(kind, str):
        return UnknownEntry("", fields, "has no type")
    parse = _PARSERS.get(kind)
    if parse is None:
        return _old_object(fields) or UnknownEntry(kind, fields, None)
    try:
        return parse(fields)
    except _BadFieldError as error:
        return UnknownEntry(kind, fields, str(error))


def _field(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if type(value) is not kind:
        found = f"is {reprlib.repr(value)}" if name in fields else "is missing"
        raise _BadFieldError(f"field {name} {found}, not {kind.__name__}")
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    return value if type(value) is bool else bool(_field(fields, name, bool))


def _ints(fields: Mapping[str, Any], name: str) -> tuple[int, ...]:
    values = fields.get(name)
    if type(values) is not list:
        values = _field(fields, name, list)
    if len(values) == 2:  # nearly all; a manifest may hold millions
        first, second = values
        if type(first) is int and type(second) is int and first >= 0 and second >= 0:
            return first, second
    are_right = len(values) <= _MAX_DIMENSIONS
    for value in values if are_right else ():
        if type(value) is not int or value < 0:
            are_right = False
    if not are_right:
        raise _BadFieldError(f"field {name} is {reprlib.repr(values)}, not a short list of integers ≥ 0")
    return tuple(values)


def _byte_range(fields: Mapping[str, Any]) -> tuple[int, int] | None:
    if fields.get("byte_range") is None:
        return None
    values = _ints(fields, "byte_range")
    if len(values) != 2 or values[0] > values[1]:
        raise _BadFieldError(f"field byte_range is {list(values)}, not [start, end] with start ≤ end")
    return values[0], values[1]


def _extra(fields: Mapping[str, Any], known: frozenset[str]) -> Mapping[str, Any]:
    if fields.keys() <= known:
        return _NO_EXTRA
    return {name: value for name, value in fields.items() if name not in known}


_TENSOR_FIELDS = frozenset({"type", "location", "serializer", "dtype", "shape", "replicated", "byte_range"})


def _tensor(fields: Mapping[str, Any]) -> TensorEntry:
    location, serializer, dtype = fields.get("location"), fields.get("serializer"), fields.get("dtype")
    if type(location) is not str or type(serializer) is not str or type(dtype) is not str:
        location, serializer, dtype = (_field(fields, name, str) for name in ("location", "serializer", "dtype"))
    shape, replicated, byte_range = _ints(fields, "shape"), _flag(fields, "replicated"), _byte_range(fields)
    extra = _NO_EXTRA if fields.keys() <= _TENSOR_FIELDS else _extra(fields, _TENSOR_FIELDS)
    return TensorEntry(location, serializer, dtype, shape, replicated, byte_range, extra)


_SHARD_FIELDS = frozenset({"offsets", "sizes", "tensor"})


def _shard(fields: Any) -> Shard:
    if type(fields) is not dict:
        raise _BadFieldError(f"a shard is {reprlib.repr(fields)}, not a mapping")
    offsets, sizes = _ints(fields, "offsets"), _ints(fields, "sizes")
    if "tensor" not in fields and "location" in fields:
        return _old_shard(fields, offsets, sizes)
    tensor = _tensor(_field(fields, "tensor", dict))
    if len(offsets) != len(sizes):
        raise _BadFieldError(f"a shard has offsets {list(offsets)} and sizes {list(sizes)}")
    if tensor.shape != sizes:
        raise _BadFieldError(f"a shard of sizes {list(sizes)} has a tensor of shape {list(tensor.shape)}")
    return Shard(offsets, sizes, tensor, _extra(fields, _SHARD_FIELDS))


def _old_shard(fields: Mapping[str, Any], offsets: tuple[int, ...], sizes: tuple[int, ...]) -> Shard:
    """A shard of torchsnapshot 0.0.3 and earlier: a pickle whose dtype nothing else names."""
    tensor = TensorEntry(_field(fields, "location", str), "torch_save", "", sizes, replicated=False, byte_range=None)
    return Shard(offsets, sizes, tensor, extra=_extra(fields, frozenset({"offsets", "sizes", "location"})))


def _shards(fields: Mapping[str, Any], name: str) -> tuple[Shard, ...]:
    return tuple([_shard(shard) for shard in _field(fields, name, list)])


_CHUNKED_FIELDS = frozenset({"type", "dtype", "shape", "chunks", "replicated"})


def _chunked(fields: Mapping[str, Any]) -> ChunkedTensorEntry:
    return ChunkedTensorEntry(
        dtype=_field(fields, "dtype", str),
        shape=_ints(fields, "shape"),
        chunks=_shards(fields, "chunks"),
        replicated=_flag(fields, "replicated"),
        extra=_extra(fields, _CHUNKED_FIELDS),
    )


_SHARDED_FIELDS = frozenset({"type", "shards"})


def _sharded(fields: Mapping[str, Any]) -> ShardedTensorEntry:
    return ShardedTensorEntry(_shards(fields, "shards"), _extra(fields, _SHARDED_FIELDS))


_DTENSOR_FIELDS = frozenset({"type", "shards", "mesh", "dim_map"})


def _dtensor(fields: Mapping[str, Any]) -> DTensorEntry:
    dim_map = _field(fields, "dim_map", list)
    if not all(type(dims) is list and all(type(dim) is int for dim in dims) for dims in dim_map):
        raise _BadFieldError(f"field dim_map is {reprlib.repr(dim_map)}, not lists of integers")
    return DTensorEntry(
        shards=_shards(fields, "shards"),
        mesh=_field(fields, "mesh", list),
        dim_map=tuple(tuple(dims) for dims in dim_map),
        extra=_extra(fields, _DTENSOR_FIELDS),
    )


_CONTAINER_FIELDS = frozenset({"type", "keys"})


def _container(fields: Mapping[str, Any]) -> ContainerEntry:
    if fields["type"] == "list":
        return ContainerEntry("list", (), extra=_extra(fields, frozenset({"type"})))
    keys = _field(fields, "keys", list)
    if not all(type(key) in (str, int, bool) for key in keys):
        raise _BadFieldError(f"field keys is {reprlib.repr(keys)}, not a list of strings, integers and booleans")
    return ContainerEntry(fields["type"], tuple(keys), extra=_extra(fields, _CONTAINER_FIELDS))


_PRIMITIVE_FIELDS = frozenset({"type", "serialized_value", "replicated", "readable"})


def _primitive(fields: Mapping[str, Any]) -> PrimitiveEntry:
    return PrimitiveEntry(
        type=fields["type"],
        serialized_value=_field(fields, "serialized_value", str),
        replicated=_flag(fields, "replicated"),
        readable=None if fields.get("readable") is None else _field(fields, "readable", str),
        extra=_extra(fields, _PRIMITIVE_FIELDS),
    )


_OBJECT_FIELDS = frozenset({"type", "location", "serializer", "obj_type", "replicated"})


def _object(fields: Mapping[str, Any]) -> ObjectEntry:
    return ObjectEntry(
        location=_field(fields, "location", str),
        serializer=_field(fields, "serializer", str),
        obj_type=_field(fields, "obj_type", str),
        replicated=_flag(fields, "replicated"),
        extra=_extra(fields, _OBJECT_FIELDS),
    )


def _old_object(fields: Mapping[str, Any]) -> ObjectEntry | None:
    """Anything but a sharded tensor in torchsnapshot 0.0.3 and earlier: a pickle, the type named by its class."""
    location, replicated = fields.get("location"), fields.get("replicated")
    if fields.keys() != {"type", "location", "replicated"} or type(location) is not str or type(replicated) is not bool:
        return None
    return ObjectEntry(location, "torch_save", fields["type"], replicated)


_PARSERS: dict[str, Callable[[Mapping[str, Any]], Entry]] = {
    "Tensor": _tensor,
    "ChunkedTensor": _chunked,
    "ShardedTensor": _sharded,
    "DTensor": _dtensor,
    "dict": _container,
    "OrderedDict": _container,
    "list": _container,
    "object": _object,
    **dict.fromkeys(PRIMITIVE_TYPES, _primitive),
}

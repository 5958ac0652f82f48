"""Primitive entries as Python values."""

from __future__ import annotations

import base64
import reprlib
import struct
from collections.abc import Callable
from typing import TypeAlias

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.model.manifest import PrimitiveEntry

__all__ = ["Primitive", "parse_primitive"]

Primitive: TypeAlias = int | str | bool | bytes | float


def parse_primitive(entry: PrimitiveEntry, *, where: str) -> Primitive:
    """The value of a primitive entry. Floats are base64 of a little-endian double, bytes base64.

    Raises:
        SnapshotError: `bad-entry`: its text is not of its type.
    """
    try:
        return _PARSERS[entry.type](entry.serialized_value)
    except (ValueError, KeyError, struct.error):
        raise SnapshotError(
            ErrorKind.BAD_ENTRY,
            "its text is not of its type",
            where=where,
            expected=entry.type,
            found=reprlib.repr(entry.serialized_value),
        ) from None


def _float(text: str) -> float:
    (value,) = struct.unpack("<d", _bytes(text))
    return float(value)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_PARSERS: dict[str, Callable[[str], Primitive]] = {
    "int": int,
    "str": str,
    "bool": {"True": True, "False": False}.__getitem__,
    "bytes": _bytes,
    "float": _float,
}

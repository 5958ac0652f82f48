"""What a row map's parquet files say about it in their metadata: key `embsnap.row_map`, a JSON object.

    {"version": 1, "old_fingerprint": "v1:int64:…", "new_fingerprint": "v1:int64:…", "num_old_rows": 100,
     "num_new_rows": 120, "provenance": {"tool": …, "command": …, "inputs": [{"uri": …}], "options": {…}}}

It is read tolerantly: what cannot be understood is noted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from embsnap.model.findings import Finding, Severity
from embsnap.model.remap import RemapOrigin

__all__ = ["METADATA_KEY", "encode_origin", "read_origin"]

METADATA_KEY = b"embsnap.row_map"
"""Of the parquet files' key-value metadata."""
_VERSION = 1
_MAX_BYTES = 1 << 24


def encode_origin(origin: RemapOrigin) -> bytes:
    """The JSON object as bytes, the same for the same values."""
    document: dict[str, Any] = {
        "version": _VERSION,
        "old_fingerprint": origin.old_fingerprint,
        "new_fingerprint": origin.new_fingerprint,
        "num_old_rows": origin.num_old_rows,
        "num_new_rows": origin.num_new_rows,
    }
    if origin.provenance:
        document["provenance"] = dict(origin.provenance)
    return json.dumps(document, separators=(",", ":")).encode()


def read_origin(uri: str, metadata: Sequence[Mapping[bytes, bytes]]) -> tuple[RemapOrigin | None, list[Finding]]:
    """What the files of one row map say.

    Args:
        uri: The row map's.
        metadata: Key-value metadata of each file.

    Returns:
        What all of them say; None, with a note where there is something to note, if they say nothing, differ, or
        cannot be understood.
    """
    found = [pairs.get(METADATA_KEY) for pairs in metadata]
    first = found[0]
    if all(data is None for data in found):
        return None, []
    if first is None or found.count(first) != len(found):
        return None, [_note(uri, "its files say different things in their metadata, so that it is ignored")]
    try:
        return _decode(first), []
    except ValueError as error:
        return None, [_note(uri, f"what its metadata says is not understood, and ignored: {error}")]


def _decode(data: bytes) -> RemapOrigin:
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{len(data)} bytes long")
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise ValueError(f"no object of version {_VERSION}")
    provenance = document.get("provenance", {})
    if not isinstance(provenance, dict):
        raise ValueError("its provenance is no object")
    return RemapOrigin(
        _text(document, "old_fingerprint"),
        _text(document, "new_fingerprint"),
        _number(document, "num_old_rows"),
        _number(document, "num_new_rows"),
        provenance,
    )


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if not isinstance(value, str | None):
        raise ValueError(f"its {name} is no text")
    return value


def _number(document: Mapping[str, Any], name: str) -> int | None:
    value = document.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError(f"its {name} is no number of rows")
    return value


def _note(uri: str, message: str) -> Finding:
    return Finding(Severity.NOTE, "odd-metadata", uri, message, "write the row map again with embsnap vocab align")

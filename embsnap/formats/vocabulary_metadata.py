"""What a vocabulary's parquet files say about it in their metadata: key `embsnap`, a JSON object.

    {"version": 1, "fingerprint": "v1:int64:…", "num_rows": 103, "reserved": [[0, 1]], "oov": [1, 3],
     "free": [[40, 42]], "provenance": {"tool": …, "command": …, "inputs": [{"uri": …}], "options": {…}}}

A row of a range in `free` is free if no entity has it. It is read tolerantly: what cannot be understood is noted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import Declared

__all__ = ["METADATA_KEY", "decode_declared", "encode_declared", "read_declared"]

METADATA_KEY = b"embsnap"
"""Of the parquet files' key-value metadata."""
_VERSION = 1
_MAX_BYTES = 1 << 24
_MAX_ROW = 2**62
"""No table has more; what is added to such a row fits in an int64."""


def encode_declared(declared: Declared) -> bytes:
    """The JSON object as bytes, the same for the same values.

    Raises:
        ValueError: Rows are declared without `num_rows`.
    """
    document: dict[str, Any] = {"version": _VERSION, "fingerprint": declared.fingerprint}
    if declared.num_rows is None:
        if declared.reserved or declared.oov or declared.free:
            raise ValueError("rows are declared reserved, free or OOV, and not how many there are")
    else:
        document |= {
            "num_rows": declared.num_rows,
            "reserved": declared.reserved,
            "oov": declared.oov,
            "free": declared.free,
        }
    if declared.provenance:
        document["provenance"] = dict(declared.provenance)
    return json.dumps(document, separators=(",", ":")).encode()


def decode_declared(data: bytes) -> Declared:
    """The value of such an object.

    Raises:
        ValueError: It is damaged, foreign, or of a later version.
    """
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{len(data)} bytes long")
    try:
        document = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise ValueError(f"no object of version {_VERSION}")
    fingerprint, num_rows = document.get("fingerprint"), document.get("num_rows")
    if not isinstance(fingerprint, str | None):
        raise ValueError("its fingerprint is no text")
    provenance = document.get("provenance") or {}
    if not isinstance(provenance, dict):
        raise ValueError("its provenance is no object")
    oov = document.get("oov")
    return Declared(
        fingerprint=fingerprint,
        num_rows=None if num_rows is None else _row(num_rows),
        reserved=_ranges(document.get("reserved") or []),
        free=_ranges(document.get("free") or []),
        oov=None if oov is None else _ranges([oov])[0],
        provenance=provenance,
    )


def read_declared(uri: str, metadata: Sequence[Mapping[bytes, bytes] | None]) -> tuple[Declared | None, list[Finding]]:
    """What the files of one vocabulary declare.

    Args:
        uri: The vocabulary's.
        metadata: Key-value metadata of each file.

    Returns:
        What all of them say; None, with a note where there is something to note, if they say nothing, differ, or
        cannot be understood.
    """
    found = [(pairs or {}).get(METADATA_KEY) for pairs in metadata]
    if all(data is None for data in found):
        return None, []
    if found.count(found[0]) != len(found) or found[0] is None:
        return None, [_note(uri, "its files declare different things in their metadata, so that it is ignored")]
    try:
        return decode_declared(found[0]), []
    except ValueError as error:
        return None, [_note(uri, f"what its metadata declares is not understood, and ignored: {error}")]


def _ranges(values: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(values, list):
        raise ValueError("rows that are no list of ranges")
    ranges = []
    for value in values:
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError("rows that are no ranges of two numbers")
        start, end = map(_row, value)
        if start > end:
            raise ValueError(f"rows [{start}, {end})")
        ranges.append((start, end))
    return tuple(ranges)


def _row(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_ROW:
        raise ValueError(f"no row: {value!r:.40}")
    return value


def _note(uri: str, message: str) -> Finding:
    return Finding(Severity.NOTE, "odd-metadata", uri, message, "write the vocabulary again with embsnap vocab")

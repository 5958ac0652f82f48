"""The sidecar: what embsnap knows about a snapshot beyond torchsnapshot's own metadata.

It lies in the snapshot as `.embsnap/<first 16 hex digits of the metadata's sha256>.json`, so that it is found
without a listing and never taken for another snapshot's. torchsnapshot does not look at it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NoReturn

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.sidecar_fields import Fields

__all__ = [
    "MAX_SIDECAR_BYTES",
    "Lineage",
    "ObjectSums",
    "Parent",
    "Sidecar",
    "TableVocabulary",
    "parse_sidecar",
    "sidecar_location",
    "sidecar_of",
]

MAX_SIDECAR_BYTES = 64 << 20
"""A larger sidecar is refused unread. 64 MiB hold the block sums of some 20 TB."""
_SCHEMA = "embsnap.sidecar"
_VERSION = 1
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ObjectSums:
    """Size and CRC-32C of one object, whole and by blocks. Sums are eight lower-case hex digits."""

    size: int
    """In bytes."""
    crc32c: str
    block_bytes: int
    """Size of every block but the last."""
    blocks: tuple[str, ...]
    """One sum for each `block_bytes` of the object, in order."""
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class TableVocabulary:
    """The vocabulary that says which row of a table belongs to which entity."""

    uri: str
    fingerprint: str
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Parent:
    """A snapshot that rows were taken from."""

    uri: str
    metadata_sha256: str
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a snapshot comes from."""

    parents: tuple[Parent, ...]
    command: str
    """What made it, as a person would type it."""
    plan_digest: str
    """Hex digest of the plan that was applied."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: _NOTHING)
    """By table: rows carried, new, dropped, ..."""
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One snapshot's sidecar. `extra` holds the fields of its level that this version does not know."""

    metadata_sha256: str
    """Of the bytes of the `.snapshot_metadata` it belongs to, 64 hex digits."""
    tool: str
    """Name and version of what wrote it."""
    created: str
    """UTC, ISO 8601."""
    objects: Mapping[str, ObjectSums]
    """By location."""
    tables: Mapping[str, TableVocabulary] = field(default_factory=lambda: _NOTHING)
    """By table name."""
    lineage: Lineage | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    def to_bytes(self) -> bytes:
        """As JSON, ASCII, with the unknown fields after the known ones of each level."""
        document = {
            "schema": _SCHEMA,
            "version": _VERSION,
            "metadata_sha256": self.metadata_sha256,
            "tool": self.tool,
            "created": self.created,
            "objects": {location: _sums_fields(sums) for location, sums in self.objects.items()},
            "tables": {
                name: {"uri": table.uri, "fingerprint": table.fingerprint, **table.extra}
                for name, table in self.tables.items()
            },
            "lineage": None if self.lineage is None else _lineage_fields(self.lineage),
            **self.extra,
        }
        return json.dumps(document, allow_nan=False).encode() + b"\n"


def sidecar_location(metadata: bytes) -> str:
    """Where the sidecar of a snapshot with these metadata bytes lies, relative to its root."""
    return sidecar_of(hashlib.sha256(metadata).hexdigest())


def sidecar_of(metadata_sha256: str) -> str:
    """The same for metadata of this digest, 64 hex digits."""
    return f".embsnap/{metadata_sha256[:16]}.json"


def parse_sidecar(data: bytes) -> Sidecar:
    """The sidecar that these bytes hold.

    Whether it belongs to the metadata at hand (`metadata_sha256`) is the caller's to compare.

    Raises:
        SnapshotError: `bad-metadata`: not JSON, too large or too deep, of another schema or a later version, a field
            missing or of the wrong type, block sums that do not fit the size, an unsafe location.
    """
    if len(data) > MAX_SIDECAR_BYTES:
        _refuse("is too large", f"at most {MAX_SIDECAR_BYTES} bytes", f"{len(data)} bytes")
    try:
        document = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except ValueError as error:
        _refuse("is not JSON", "one JSON object", str(error)[:80])
    except RecursionError:
        _refuse("is not JSON that anyone would write", "a few levels", "deep nesting")
    top = Fields(document, "sidecar")
    if top.text("schema") != _SCHEMA:
        _refuse("has another schema", _SCHEMA, repr(document["schema"])[:80])
    if top.integer("version") != _VERSION:
        _refuse("is of another version", str(_VERSION), str(document["version"])[:20], "upgrade embsnap")
    return Sidecar(
        metadata_sha256=top.hex("metadata_sha256", 64),
        tool=top.text("tool"),
        created=top.text("created"),
        objects={location: _object_sums(fields, location) for location, fields in top.children("objects")},
        tables={name: _table(fields) for name, fields in top.children("tables")},
        lineage=_lineage(top.child("lineage")) if document.get("lineage") is not None else None,
        extra=top.extra("schema", "version", "lineage"),
    )


def _object_sums(fields: Fields, location: str) -> ObjectSums:
    fields.safe_location(location)
    size, block_bytes = fields.integer("size"), fields.integer("block_bytes", minimum=1)
    blocks = fields.hexes("blocks", 8)
    if len(blocks) != -(-size // block_bytes):
        expected, found = f"{-(-size // block_bytes)} for {size} bytes", f"{len(blocks)} blocks"
        _refuse(f"has block sums that do not fit the size of {location!r}", expected, found)
    return ObjectSums(size, fields.hex("crc32c", 8), block_bytes, blocks, fields.extra())


def _table(fields: Fields) -> TableVocabulary:
    return TableVocabulary(fields.text("uri"), fields.text("fingerprint"), fields.extra())


def _lineage(fields: Fields) -> Lineage:
    return Lineage(
        parents=tuple(
            Parent(parent.text("uri"), parent.hex("metadata_sha256", 64), parent.extra())
            for parent in fields.items("parents")
        ),
        command=fields.text("command"),
        plan_digest=fields.text("plan_digest"),
        counts={name: {key: counts.integer(key) for key in counts.names} for name, counts in fields.children("counts")},
        extra=fields.extra(),
    )


def _sums_fields(sums: ObjectSums) -> Mapping[str, Any]:
    return {
        "size": sums.size,
        "crc32c": sums.crc32c,
        "block_bytes": sums.block_bytes,
        "blocks": list(sums.blocks),
        **sums.extra,
    }


def _lineage_fields(lineage: Lineage) -> Mapping[str, Any]:
    return {
        "parents": [
            {"uri": parent.uri, "metadata_sha256": parent.metadata_sha256, **parent.extra} for parent in lineage.parents
        ],
        "command": lineage.command,
        "plan_digest": lineage.plan_digest,
        "counts": {name: dict(counts) for name, counts in lineage.counts.items()},
        **lineage.extra,
    }


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field stands there twice")
    return fields


def _finite(text: str) -> float:
    value = float(text)
    return value if isfinite(value) else _no_constant(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse(problem: str, expected: str, found: str, hint: str = "delete the sidecar to go on without it") -> NoReturn:
    raise SnapshotError(
        ErrorKind.BAD_METADATA, f"the sidecar {problem}", where="sidecar", expected=expected, found=found, hint=hint
    )

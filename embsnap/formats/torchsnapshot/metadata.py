"""`.snapshot_metadata` as a manifest.

torchsnapshot 0.1.0 and later write JSON; 0.0.3 and earlier wrote YAML proper. JSON is read by a JSON parser: an order
of magnitude faster than YAML, without YAML's ways to explode, and able to read every character.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NoReturn

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.collector import collector_paused
from embsnap.formats.torchsnapshot.entries import parse_entry
from embsnap.model.manifest import Manifest
from embsnap.model.paths import split_entry_path

__all__ = ["MAX_METADATA_BYTES", "METADATA_LOCATION", "parse_metadata"]

METADATA_LOCATION = ".snapshot_metadata"
MAX_METADATA_BYTES = 1 << 30
"""A larger metadata file is refused unread."""
_TOP_LEVEL = frozenset({"version", "world_size", "manifest"})


def parse_metadata(data: bytes, *, where: str) -> Manifest:
    """The manifest that the bytes of a `.snapshot_metadata` hold.

    Entries of unknown type or with impossible fields are kept as `UnknownEntry`.

    Args:
        data: The file's bytes.
        where: Its URI, for messages.

    Raises:
        SnapshotError: `bad-metadata`: neither JSON nor the plain YAML that torchsnapshot wrote, a key twice, nested too
            deeply, or without version, world size and manifest.
    """
    with collector_paused():
        return _manifest(_plain(data, where), where)


def _manifest(fields: Any, where: str) -> Manifest:
    if type(fields) is not dict:
        _refuse("is no mapping", where, expected="version, world_size and manifest", found=type(fields).__name__)
    version, world_size = fields.get("version"), fields.get("world_size")
    if type(version) is not str:
        _refuse("has no version", where, expected="a string", found=_short(version))
    if type(world_size) is not int or world_size < 1:
        _refuse("has no world size", where, expected="an integer ≥ 1", found=_short(world_size))
    manifest = _entry_fields(fields.get("manifest"), world_size, where)
    entries = {path: parse_entry(entry) for path, entry in manifest.items()}
    extra = {name: value for name, value in fields.items() if name not in _TOP_LEVEL}
    return Manifest(version=version, world_size=world_size, entries=entries, extra=extra)


def _entry_fields(manifest: object, world_size: int, where: str) -> Mapping[str, Mapping[str, Any]]:
    if type(manifest) is not dict:
        _refuse("has no manifest", where, expected="a mapping of entry paths", found=_short(manifest))
    for path, entry in manifest.items():
        split = split_entry_path(path) if isinstance(path, str) else None
        if split is None:
            _refuse("names an entry without a rank", where, expected="<rank>/<logical path>", found=_short(path))
        if split[0] >= world_size:
            _refuse(f"lists the entry {_short(path)}", where, expected=f"ranks below the world size {world_size}")
        if type(entry) is not dict:
            _refuse(f"holds no entry under {_short(path)}", where, expected="a mapping", found=_short(entry))
    return manifest


def _plain(data: bytes, where: str) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse("is not UTF-8 text", where, found=f"byte 0x{data[error.start]:02x} at {error.start}")
    if text.lstrip()[:1] == "{":
        return _parse_json(text, where)
    if not text.strip():
        _refuse("is empty", where, found=f"{len(data)} bytes")
    # YAML metadata is years old; whoever has none does not wait for its parser to load.
    return import_module("embsnap.formats.torchsnapshot.yaml_metadata").parse_yaml(text, where=where)


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        _refuse("is nested too deeply", where, found=f"{len(text)} characters")
    except ValueError as error:
        _refuse("is not JSON", where, found=str(error))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {_short(twice)} stands there twice")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"the constant {name}")


def _short(value: object) -> str:
    return reprlib.repr(value)


def _refuse(problem: str, where: str, *, expected: str | None = None, found: str | None = None) -> NoReturn:
    raise SnapshotError(
        ErrorKind.BAD_METADATA,
        problem,
        where=where,
        expected=expected,
        found=found,
        hint="take the snapshot again, or get an intact copy of it",
    )

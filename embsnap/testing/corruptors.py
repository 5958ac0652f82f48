"""Ways to damage a snapshot directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["edit_entry", "edit_metadata", "flip_bit", "object_of", "truncate"]

_METADATA = ".snapshot_metadata"


def edit_metadata(root: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the metadata of a snapshot in place."""
    fields = json.loads((root / _METADATA).read_text())
    edit(fields)
    (root / _METADATA).write_text(json.dumps(fields, indent=2))


def edit_entry(root: Path, path: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change one entry of the manifest in place."""
    edit_metadata(root, lambda fields: edit(fields["manifest"][path]))


def object_of(root: Path, path: str) -> Path:
    """The file that holds the first bytes of an entry."""
    entry = json.loads((root / _METADATA).read_text())["manifest"][path]
    pieces = entry.get("shards") or entry.get("chunks")
    location: str = (pieces[0]["tensor"] if pieces else entry)["location"]
    return root / location


def flip_bit(file: Path, at: int, bit: int = 0) -> None:
    """Flip one bit of the byte number `at` of a file."""
    with file.open("r+b") as opened:
        opened.seek(at)
        (value,) = opened.read(1)
        opened.seek(at)
        opened.write(bytes([value ^ 1 << bit]))


def truncate(file: Path, num_bytes: int) -> None:
    """Cut `num_bytes` off the end of a file."""
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - num_bytes])

"""Places in a config file: `model.embeddings.tables[0].name`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Place", "mappings", "render_place", "resolve_place"]

Place = tuple[str | int, ...]
"""Keys and list indices from the root down."""

_INDEX = re.compile(r"\[(\d{1,9})\]")


def render_place(place: Place) -> str:
    """As people write it; the root is `.`.

    >>> render_place(("model", "tables", 0, "name"))
    'model.tables[0].name'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_plain(part)}" for part in place)
    return text.removeprefix(".") or "."


def _plain(key: str) -> str:
    return key if key.isprintable() else repr(key)


def resolve_place(data: Any, text: str) -> tuple[Place, Any] | None:
    """The place and value of what `text` names in `data`, or None if nothing does.

    Keys may hold dots themselves: the longest key that fits wins.

    >>> resolve_place({"a.b": [{"c": 7}]}, "a.b[0].c")
    (('a.b', 0, 'c'), 7)
    """
    parts = [part for part in _INDEX.sub(r".[\1]", text).split(".") if part]
    return _descend(data, parts, ())


def _descend(data: Any, parts: list[str], place: Place) -> tuple[Place, Any] | None:
    if not parts:
        return place, data
    if isinstance(data, Mapping):
        for end in range(len(parts), 0, -1):
            key = ".".join(parts[:end])
            found = _descend(data[key], parts[end:], (*place, key)) if key in data else None
            if found is not None:
                return found
    elif isinstance(data, list):
        index = int(parts[0].strip("[]")) if parts[0].strip("[]").isdecimal() else len(data)
        if index < len(data):
            return _descend(data[index], parts[1:], (*place, index))
    return None


def mappings(data: Any) -> Iterator[tuple[Place, Mapping[Any, Any]]]:
    """Every mapping in `data` with its place, the root first; one that several aliases share comes once."""
    seen: set[int] = set()
    queue: list[tuple[Place, Any]] = [((), data)]
    for place, value in queue:
        if not isinstance(value, Mapping | list) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            yield place, value
            queue.extend(((*place, str(key)), child) for key, child in value.items())
        else:
            queue.extend(((*place, index), child) for index, child in enumerate(value))

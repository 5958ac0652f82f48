"""The YAML metadata of torchsnapshot 0.0.3 and earlier, read event by event.

Only what `yaml.dump` makes of plain mappings, lists, strings, integers, booleans and nulls is read. Anchors, aliases,
tags, merge keys, repeated keys, several documents and deep nesting are refused: they are how YAML files explode, and no
writer of snapshots uses them. Events keep the parser from recursing on nested input.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from embsnap.errors import ErrorKind, SnapshotError

__all__ = ["MAX_YAML_BYTES", "parse_yaml"]

MAX_YAML_BYTES = 1 << 26
_MAX_DEPTH = 32

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,30})")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class _NotPlainError(Exception):
    pass


def parse_yaml(text: str, *, where: str) -> Any:
    """The document in `text`, in plain Python values.

    Raises:
        SnapshotError: `bad-metadata`, or `metadata-too-large` beyond `MAX_YAML_BYTES`.
    """
    if len(text) > MAX_YAML_BYTES:
        raise SnapshotError(
            ErrorKind.METADATA_TOO_LARGE,
            "is YAML, which is read up to a limit",
            where=where,
            expected=f"at most {MAX_YAML_BYTES} characters",
            found=len(text),
            hint="rewrite it as JSON, which torchsnapshot reads as well",
        )
    try:
        return _document(yaml.parse(text, Loader=_LOADER))
    except (yaml.YAMLError, _NotPlainError) as error:
        _refuse(str(error), where)


def _refuse(problem: str, where: str) -> NoReturn:
    raise SnapshotError(
        ErrorKind.BAD_METADATA,
        "is neither JSON nor plain YAML",
        where=where,
        found=" ".join(problem.split())[:200],
        hint="take the snapshot again, or get an intact copy of it",
    )


def _document(events: Iterator[Any]) -> Any:
    values: list[Any] = []
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            values.append(_node(event, events, depth=0))
    if len(values) != 1:
        raise _NotPlainError(f"{len(values)} documents")
    return values[0]


def _node(event: Any, events: Iterator[Any], depth: int) -> Any:
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise _NotPlainError(f"an anchor or alias{_at(event)}")
    if event.tag is not None:
        raise _NotPlainError(f"the tag {event.tag}{_at(event)}")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if depth >= _MAX_DEPTH:
        raise _NotPlainError(f"nested deeper than {_MAX_DEPTH}{_at(event)}")
    if isinstance(event, yaml.MappingStartEvent):
        return _mapping(events, depth)
    return _sequence(events, depth)


def _sequence(events: Iterator[Any], depth: int) -> list[Any]:
    values = []
    for event in events:
        if isinstance(event, yaml.SequenceEndEvent):
            break
        values.append(_node(event, events, depth + 1))
    return values


def _mapping(events: Iterator[Any], depth: int) -> dict[Any, Any]:
    fields: dict[Any, Any] = {}
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        if not isinstance(event, yaml.ScalarEvent):
            raise _NotPlainError(f"a key that is no scalar{_at(event)}")
        key = _node(event, events, depth + 1)
        if key in fields or (event.implicit[0] and key == "<<"):
            raise _NotPlainError(f"the key {reprlib.repr(key)} twice, or a merge key{_at(event)}")
        fields[key] = _node(next(events), events, depth + 1)
    return fields


def _scalar(event: Any) -> str | int | bool | None:
    value = str(event.value)
    if not event.implicit[0]:
        return value
    if value in _WORDS:
        return _WORDS[value]
    return int(value) if _INTEGER.fullmatch(value) else value


def _at(event: Any) -> str:
    return f" in line {event.start_mark.line + 1}"

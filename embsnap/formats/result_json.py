"""Results of embsnap that were kept as JSON, read back into the values they were made from."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from embsnap.errors import ErrorKind, UsageError
from embsnap.storage.nearest import read_object

__all__ = ["read_result", "restored"]

_MAX_BYTES = 1 << 28
_NON_FINITE = ("NaN", "Infinity", "-Infinity")
_T = TypeVar("_T")


def read_result(uri: str, types_: Mapping[str, type[Any]], options: Mapping[str, str] | None = None) -> Any:
    """The result in a file that a command with `--json` printed.

    Fields that are not known are left out: a later version of the same schema may have more.

    Args:
        uri: Of the file.
        types_: What is taken, by the name of its schema.
        options: Of the store.

    Raises:
        UsageError: `bad-result`: it is no JSON, a result of another kind or version, or not as such a result is.
        NotFoundError: There is no such file.
        StorageError: The storage failed, or the file is larger than 256 MiB.
    """
    data = read_object(uri, options, limit=_MAX_BYTES)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad(uri, "a JSON object", str(error) or "lists in lists without end") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    found = types_.get(schema) if isinstance(schema, str) else None
    if found is None:
        kind = schema if isinstance(schema, str) else "no kind"
        raise _bad(uri, f"a result of one of the kinds {', '.join(types_)}", kind)
    if document.get("version") != found.schema_version:
        raise _bad(uri, f"{schema} of version {found.schema_version}", f"version {document.get('version')}")
    try:
        return restored(found, document)
    except ValueError as error:
        raise _bad(uri, f"all fields of {schema}", str(error)) from None


def restored(kind: type[_T], value: Any) -> _T:
    """A value of the type `kind` from its form in JSON.

    Raises:
        ValueError: It is not such a value; the message names the field.
    """
    return _restored(kind, value, "")  # type: ignore[no-any-return]


def _restored(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, place)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(
                _restored(k, item, f"{place}[{i}]") for i, (k, item) in enumerate(zip(kinds, value, strict=True))
            )
    elif origin is not tuple and origin is not None and isinstance(value, dict):
        return {key: _restored(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    elif is_dataclass(kind) and isinstance(value, dict):
        return _dataclass(kind, value, place)
    elif isinstance(kind, type):
        return _plain(kind, value, place)
    raise ValueError(f"{place or 'it'} is {type(value).__name__}")


def _one_of(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    """By the narrowest kind that takes it: a number is no text, and a whole number no fraction."""
    if value is None and types.NoneType in kinds:
        return None
    order = [kind for kind in kinds if kind is type(value)] or [kind for kind in kinds if kind is not types.NoneType]
    problems = []
    for kind in order:
        try:
            return _restored(kind, value, place)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(problems[0])


def _dataclass(kind: Any, value: Mapping[str, Any], place: str) -> Any:
    hints, found = get_type_hints(kind), {}
    for field in fields(kind):
        where = f"{place}.{field.name}".lstrip(".")
        if field.name in value:
            found[field.name] = _restored(hints[field.name], value[field.name], where)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where} is missing")
    return kind(**found)


def _plain(kind: type[Any], value: Any, place: str) -> Any:
    if issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{place} is {value!r}") from None
    if kind is float and (value in _NON_FINITE if isinstance(value, str) else type(value) in (int, float)):
        return float(value)
    if kind is bytes and isinstance(value, str):
        return bytes.fromhex(value)
    if type(value) is kind:
        return value
    raise ValueError(f"{place or 'it'} is {type(value).__name__}")


def _bad(uri: str, expected: str, found: str) -> UsageError:
    return UsageError(
        ErrorKind.BAD_RESULT,
        "is not what a command of embsnap prints with --json",
        where=uri,
        expected=expected,
        found=found,
        hint="keep it as it is printed: embsnap … --json > result.json",
    )

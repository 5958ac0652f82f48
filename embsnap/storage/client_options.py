"""Settings that people give for a storage client, as text, turned into what the client's class takes."""

from __future__ import annotations

import difflib
import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

from fsspec import get_filesystem_class

from embsnap.errors import ErrorKind, UsageError
from embsnap.storage.retries import DEFAULT_TIMEOUT_S

__all__ = ["TIMEOUT", "client_settings", "file_system_class", "timeout_of"]

TIMEOUT = "timeout"
"""The one key that is embsnap's own."""
_NOT_FOR_PEOPLE = {"self", "args", "kwargs", "loop", "asynchronous", "requests_timeout", TIMEOUT}
_EXTRAS = {"s3": "s3", "s3a": "s3", "az": "azure", "abfs": "azure", "abfss": "azure", "adl": "azure"}
_WORDS = {"true": True, "false": False, "none": None}


def timeout_of(options: Mapping[str, str]) -> float:
    """Seconds for one request with all its repetitions.

    Raises:
        UsageError: `bad-option`: it is no positive number.
    """
    text = options.get(TIMEOUT)
    if text is None:
        return DEFAULT_TIMEOUT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        expected, hint = "a number of seconds above 0", "--timeout 60"
        raise UsageError(
            ErrorKind.BAD_OPTION, "is no timeout", where=TIMEOUT, expected=expected, found=repr(text), hint=hint
        )
    return seconds


def file_system_class(scheme: str) -> Any:
    """The class of fsspec's file system for a scheme, imported.

    Raises:
        UsageError: fsspec knows no such scheme (`bad-uri`), or the package for it is not installed
            (`missing-package`).
    """
    where = f"{scheme}://"
    try:
        return get_filesystem_class(scheme)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        hint = f'pip install "embsnap[{extra}]"' if extra else str(error)
        problem = "needs a package that is not installed"
        raise UsageError(ErrorKind.MISSING_PACKAGE, problem, where=where, found=str(error), hint=hint) from error
    except ValueError as error:
        expected = "a local path, file:///path, gs://bucket/path, s3://bucket/path or memory://name"
        hint = "check the URI for typos"
        raise UsageError(
            ErrorKind.BAD_URI, "embsnap reads no such URIs", where=where, expected=expected, hint=hint
        ) from error


def client_settings(options: Mapping[str, str], client: type) -> dict[str, Any]:
    """Keyword arguments for the class of a file system.

    `true`, `false` and `none` become Python's, JSON objects and lists what they hold; everything else stays text.

    Args:
        options: What the user gave; `timeout` is left out.
        client: Class whose constructor says what there is.

    Raises:
        UsageError: `bad-option`: the client has no such setting, or a value is no proper JSON.
    """
    known = sorted(set(inspect.signature(client.__init__).parameters) - _NOT_FOR_PEOPLE)  # type: ignore[misc]
    settings = {}
    for key, text in options.items():
        if key == TIMEOUT:
            continue
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"{near[0]}={text}" if near else None
            raise UsageError(
                ErrorKind.BAD_OPTION, "is no setting of this storage", where=key, expected=", ".join(known), hint=hint
            )
        settings[key] = _value(key, text)
    return settings


def _value(key: str, text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            ErrorKind.BAD_OPTION, f"is no proper JSON: {error}", where=key, found=repr(text), hint="check its quotes"
        ) from None

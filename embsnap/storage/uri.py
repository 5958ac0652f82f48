"""From a URI to the store it names, and the few things done to URIs themselves.

    /data/run1  run1  file:///data/run1     a local directory
    memory://name  memory://name/run1       objects in this process
    gs://bucket/run1  gcs://bucket/run1     Google Cloud Storage
    s3://bucket/run1  az://container/run1   whatever else fsspec has a file system for

The clients of remote storage are imported when such a URI is opened. A URI is a `str`; what follows the scheme is
taken as it stands, without percent-decoding.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import import_module
from typing import TypeAlias

from embsnap.errors import ErrorKind, UsageError
from embsnap.storage.base import Store
from embsnap.storage.local import LocalStore
from embsnap.storage.memory import MemoryStore

__all__ = ["Uri", "absolute_uri", "is_remote", "join_uri", "open_store", "split_uri"]

Uri: TypeAlias = str | os.PathLike[str]
"""What a caller of the library may give; `os.fspath` makes it the `str` that is used inside."""

_PATHS = ("", "file")
_ALIASES = {"gcs": "gs", "s3a": "s3"}
_LOCAL = (*_PATHS, "memory")
_REMOTE = {"gs": ("embsnap.storage.gcs", "GcsStore"), "s3": ("embsnap.storage.s3", "S3Store")}
_ANY_OTHER = ("embsnap.storage.fsspec_store", "FsspecStore")
"""Module and class of the stores whose clients are imported when they are needed."""
_EXPECTED = "a local path, file:///path, gs://bucket/path or memory://name"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def open_store(uri: str, options: Mapping[str, str] | None = None) -> Store:
    """The store whose root is `uri`. Nothing is read or made yet.

    Args:
        uri: A local path, or a URI of one of the schemes above.
        options: Settings for the client of a remote store; local directories and memory have none.

    Raises:
        UsageError: `bad-uri`: empty, of an unsupported scheme, or without a name.
    """
    scheme, rest = _parse(uri)
    if scheme in _LOCAL:
        return MemoryStore(f"memory://{rest}") if scheme == "memory" else LocalStore(rest)
    module, name = _REMOTE.get(scheme, _ANY_OTHER)
    store: Store = getattr(import_module(module), name)(f"{scheme}://{rest}", options or {})
    return store


def is_remote(uri: str) -> bool:
    """Whether requests to what it names travel, so that several at a time are faster whatever the cores do."""
    return _parse(uri)[0] not in _LOCAL


def absolute_uri(uri: str) -> str:
    """The same for readers in any directory: a relative path is completed, all else stays as it is."""
    scheme, rest = _parse(uri)
    return uri if scheme else os.path.abspath(rest)


def split_uri(uri: str) -> tuple[str, str]:
    """The root that holds the object `uri`, and its location there: `("/data", "a.yaml")` for `/data/a.yaml`.

    Raises:
        UsageError: `bad-uri`: there is no name at its end.
    """
    scheme, rest = _parse(uri)
    before, slash, name = rest.rstrip("/").rpartition("/")
    if name in ("", ".", "..") or (scheme not in _PATHS and not slash):
        raise _bad(uri, "names no object", "the URI of one object, such as /data/config.yaml")
    root = before or slash or "."
    return (f"{scheme}://{root}" if scheme else root), name


def join_uri(uri: str, *parts: str) -> str:
    """`uri` with relative parts appended: `join_uri("/data/", "7", "a")` is `/data/7/a`."""
    scheme, rest = _parse(uri)
    path = "/".join([rest.rstrip("/"), *(part.strip("/") for part in parts)])
    return f"{scheme}://{path}" if scheme else path


def _parse(uri: str) -> tuple[str, str]:
    """Scheme (empty for a bare path) and the path or name after it."""
    match = _SCHEME.fullmatch(uri)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", uri)
    scheme = _ALIASES.get(scheme, scheme)
    is_path = scheme in _PATHS
    if not rest.strip("" if is_path else "/") or "\0" in rest or (rest.startswith("/") and not is_path):
        raise _bad(uri, "names nothing", _EXPECTED)
    if scheme == "file" and not rest.startswith("/"):
        host, _, path = rest.partition("/")
        if host != "localhost":
            raise _bad(uri, f"names the host {host!r}", "file:///absolute/path")
        rest = f"/{path}"
    return scheme, rest


def _bad(uri: str, problem: str, expected: str) -> UsageError:
    return UsageError(ErrorKind.BAD_URI, problem, where=repr(uri), expected=expected, hint="check the URI for typos")

"""What the file systems of fsspec say of a file, and what their failures mean."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from embsnap.errors import EmbsnapError, ErrorKind, StorageError
from embsnap.storage.base import ObjectInfo
from embsnap.storage.remote_errors import destination_taken
from embsnap.storage.retries import TransientError

__all__ = ["failure_of", "info_of_entry"]

_VERSIONS = ("generation", "version_id", "etag", "ETag", "md5", "checksum", "ino")
_TIMES = ("mtime", "last_modified", "LastModified", "modified", "created")


def info_of_entry(entry: Mapping[str, Any], location: str) -> ObjectInfo:
    """A file as a listing describes it; its generation is made of whatever changes with the file."""
    size = int(entry.get("size") or 0)
    versions = [str(entry[key]) for key in _VERSIONS if entry.get(key) is not None]
    times = [entry[key] for key in _TIMES if entry.get(key) is not None]
    generation = "-".join([*versions[:1], *map(str, times[:1]), str(size)])
    return ObjectInfo(location, size, generation, _seconds(times[0]) if times else None)


def _seconds(time: Any) -> float | None:
    """Seconds since 1970 of what a file system calls a time."""
    if isinstance(time, datetime.datetime):
        return time.timestamp()
    return float(time) if isinstance(time, int | float) else None


def failure_of(error: Exception, where: str) -> EmbsnapError | TransientError:
    """The error to raise for what a file system raised.

    Args:
        error: What was raised.
        where: URI that was asked for.
    """
    if isinstance(error, EmbsnapError | TransientError):
        return error
    if isinstance(error, FileExistsError):
        return destination_taken(where)
    status = getattr(error, "status", None) or getattr(error, "status_code", None) or 0
    if status == 401:
        hint = "give credentials: --storage-option key=value, or the environment variables that the client reads"
        problem = "the server does not accept the credentials, or wants some"
        return StorageError(ErrorKind.NOT_AUTHENTICATED, problem, where=where, found=str(error), hint=hint)
    if status == 403 or isinstance(error, PermissionError):
        hint = "have the account permitted to do this there, or use another"
        return StorageError(ErrorKind.PERMISSION_DENIED, "not permitted", where=where, found=str(error), hint=hint)
    if isinstance(error, OSError) or status in (408, 429) or status >= 500:
        return TransientError(f"{type(error).__name__}: {error}")
    hint = "check the URI and the settings of the storage client (--storage-option key=value)"
    problem = "the storage client failed"
    return StorageError(
        ErrorKind.STORAGE_FAILED, problem, where=where, found=f"{type(error).__name__}: {error}", hint=hint
    )

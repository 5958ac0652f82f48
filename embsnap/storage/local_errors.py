"""Operating system errors as embsnap's own, with the path they happened at."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, RefusedError, StorageError

__all__ = ["ABSENT", "no_such_object", "storage_error", "storage_errors_at"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_MISSING = {errno.ENOENT, errno.ENOTDIR}
ABSENT = _MISSING | {errno.ENAMETOOLONG}
"""What the operating system says of a path where there is no file; under too long a name there can be none."""


@contextmanager
def storage_errors_at(where: str) -> Iterator[None]:
    """Turn every OSError of the block into embsnap's error about the path `where`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, EmbsnapError):
            raise
        raise storage_error(error, where) from error


def no_such_object(where: str) -> NotFoundError:
    """There is no object at the path `where`."""
    hint = "check the path, and that it is a file"
    return NotFoundError(ErrorKind.NO_SUCH_OBJECT, "there is no such object", where=where, hint=hint)


def storage_error(error: OSError, where: str) -> EmbsnapError:
    """The error to raise for what the operating system reported at the path `where`."""
    reason = error.strerror or str(error)
    if error.errno in _MISSING:
        return no_such_object(where)
    if error.errno == errno.EEXIST:
        problem, hint = "exists already, and embsnap overwrites nothing", "write to another destination"
        return RefusedError(ErrorKind.DESTINATION_TAKEN, problem, where=where, hint=hint)
    if error.errno in _FULL:
        hint = "free some space, raise the quota, or write elsewhere"
        return StorageError(ErrorKind.DISK_FULL, f"no room to write: {reason}", where=where, hint=hint)
    if error.errno in _FORBIDDEN:
        hint = "check the permissions of the path and of the directories above it"
        return StorageError(ErrorKind.PERMISSION_DENIED, f"not permitted: {reason}", where=where, hint=hint)
    hint = "check the device and its mount, then run the command again"
    return StorageError(ErrorKind.STORAGE_FAILED, f"the storage failed: {reason}", where=where, hint=hint)

"""What remote stores say when an object is not as it was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from embsnap.errors import ErrorKind, NotFoundError, RefusedError, StorageError
from embsnap.storage.base import RangeRead

__all__ = [
    "corrupt_transfer",
    "destination_taken",
    "no_such_bucket",
    "no_such_object",
    "object_replaced",
    "short_read",
    "too_large",
]


def no_such_object(where: str) -> NotFoundError:
    """There is no object at the URI `where`."""
    hint = "check the spelling of the URI"
    return NotFoundError(ErrorKind.NO_SUCH_OBJECT, "there is no such object", where=where, hint=hint)


def no_such_bucket(where: str, bucket: str) -> NotFoundError:
    """There is not even the bucket."""
    hint = "check the spelling of the bucket, and that it belongs to the project and the account that you use"
    return NotFoundError(ErrorKind.NO_SUCH_BUCKET, f"there is no bucket {bucket!r}", where=where, hint=hint)


def destination_taken(where: str) -> RefusedError:
    """There is an object already."""
    problem, hint = "exists already, and embsnap overwrites nothing", "write to another destination"
    return RefusedError(ErrorKind.DESTINATION_TAKEN, problem, where=where, hint=hint)


def short_read(where: str, requests: Sequence[RangeRead], size: int) -> StorageError:
    """The object ends, after `size` bytes, before what the requests ask for."""
    beyond = next(request for request in requests if request.start + len(request.buffer) > size)
    return StorageError(
        ErrorKind.SHORT_READ,
        "ends before the bytes that were asked for",
        where=where,
        expected=f"bytes [{beyond.start}, {beyond.start + len(beyond.buffer)})",
        found=f"an object of {size} bytes",
        hint="the object was cut off: copy it again, or take another snapshot",
    )


def corrupt_transfer(where: str) -> StorageError:
    """All bytes of an object have arrived, twice, and are not those that the server has a checksum of."""
    return StorageError(
        ErrorKind.CORRUPT_TRANSFER,
        "arrives with another CRC-32C than the server has of it",
        where=where,
        hint="run the command again; if it happens again, check what stands between here and the storage",
    )


def too_large(where: str, size: int, limit: int) -> StorageError:
    """An object is larger than what is read whole."""
    return StorageError(
        ErrorKind.OBJECT_TOO_LARGE,
        "is larger than embsnap reads in one piece",
        where=where,
        expected=f"at most {limit} bytes",
        found=f"{size} bytes",
        hint="check what wrote it",
    )


def object_replaced(where: str, before: str, now: str | None) -> StorageError:
    """An object is no longer the one that was read first.

    Args:
        where: Its URI.
        before: Generation that was read first.
        now: Generation that is there now, or None for none.
    """
    return StorageError(
        ErrorKind.OBJECT_REPLACED,
        "was replaced while it was being read" if now else "was deleted while it was being read",
        where=where,
        expected=f"generation {before}",
        found=f"generation {now}" if now else "nothing",
        hint="something else writes there; run the command again when it has finished",
    )

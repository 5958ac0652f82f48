"""Bytes of remote objects in a local file that is mapped: for work that needs them in another order than they arrive.

The file has no name and goes with the last view of it, whatever becomes of the process.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence

from embsnap.errors import ErrorKind, StorageError
from embsnap.storage.base import RangeRead, Store
from embsnap.storage.local_errors import storage_errors_at

__all__ = ["make_stage", "stage_object"]


def make_stage(num_bytes: int, ranges: Sequence[tuple[int, int]]) -> memoryview:
    """Room in a temporary file, in the directory `TMPDIR` if that is set.

    Args:
        num_bytes: Length of the file, at least one byte.
        ranges: The half-open ranges of it that will be written. Only they take space, and all of it now, so that
            writing there cannot fail.

    Returns:
        The file, mapped and writable, of format `B`.

    Raises:
        StorageError: `disk-full`, or there is no directory for temporary files.
    """
    with storage_errors_at("the directory for temporary files"):
        directory = tempfile.gettempdir()
    with storage_errors_at(directory), tempfile.TemporaryFile(dir=directory) as file:
        _check_room(directory, file.fileno(), sum(end - start for start, end in ranges))
        file.truncate(num_bytes)
        for start, end in ranges:
            os.posix_fallocate(file.fileno(), start, end - start)
        return memoryview(mmap.mmap(file.fileno(), num_bytes))


def stage_object(store: Store, location: str, num_bytes: int) -> memoryview:
    """An object of a store that cannot map, whole and read-only.

    Args:
        store: Where it is.
        location: Of the object.
        num_bytes: Its size.

    Raises:
        NotFoundError: There is no such object.
        StorageError: `disk-full`, or the storage failed.
    """
    if num_bytes == 0:
        return memoryview(b"")
    view = make_stage(num_bytes, [(0, num_bytes)])
    store.read_ranges(location, [RangeRead(0, view)])
    return view.toreadonly()


def _check_room(directory: str, file: int, num_bytes: int) -> None:
    status = os.fstatvfs(file)
    free_bytes = status.f_bavail * status.f_frsize
    if free_bytes < num_bytes:
        raise StorageError(
            ErrorKind.DISK_FULL,
            "temporary files have no room for what has to be fetched",
            where=directory,
            expected=f"{num_bytes:,} bytes",
            found=f"{free_bytes:,} bytes",
            hint="set TMPDIR to a directory with more room",
        )

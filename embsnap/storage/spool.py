"""Bytes that arrive in order and are needed in another: in a temporary file without a name, mapped when it is whole."""

from __future__ import annotations

import mmap
import tempfile
from typing import Self

from embsnap.storage.base import Buffer
from embsnap.storage.local_errors import storage_errors_at

__all__ = ["Spool"]


class Spool:
    """Takes bytes of any number. As a context manager it closes the file, which lives on with the views of it."""

    def __init__(self) -> None:
        """Begin an empty file, in the directory `TMPDIR` if that is set.

        Raises:
            StorageError: There is no directory for temporary files, or it cannot be written.
        """
        with storage_errors_at("the directory for temporary files"):
            self._directory = tempfile.gettempdir()
        with storage_errors_at(self._directory):
            self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
        self.num_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: Buffer) -> None:
        """Append bytes.

        Raises:
            StorageError: `disk-full`, or the disk failed.
        """
        with memoryview(data).cast("B") as view, storage_errors_at(self._directory):
            done = 0
            while done < len(view):
                done += self._file.write(view[done:])
            self.num_bytes += done

    def view(self) -> memoryview:
        """All bytes so far, mapped read-only."""
        if self.num_bytes == 0:
            return memoryview(b"")
        with storage_errors_at(self._directory):
            return memoryview(mmap.mmap(self._file.fileno(), self.num_bytes, access=mmap.ACCESS_READ))

"""Arrays with a few bytes for each row of a table: in memory, or in a temporary file where they would take too much."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from embsnap.errors import ErrorKind, StorageError

__all__ = ["Scratch"]


class Scratch:
    """Hands out arrays; those that do not fit into the budget are mapped from unlinked files.

    The files have their blocks before they are mapped, so that a full disk is an error here and no signal later. They
    vanish with the arrays, however the process ends.
    """

    def __init__(self, memory_bytes: int, directory: str | None = None) -> None:
        """Hand out up to `memory_bytes` of memory; files go to `directory`, by default where temporary files go."""
        self._left, self._directory = memory_bytes, directory

    def empty(self, length: int, dtype: DTypeLike) -> NDArray[Any]:
        """An array of `length` elements with any contents.

        Raises:
            StorageError: `disk-full`: it has to be a file, and the disk has no room for it.
        """
        dtype = np.dtype(dtype)
        num_bytes = length * dtype.itemsize
        if num_bytes <= self._left:
            self._left -= num_bytes
            return np.empty(length, dtype)
        with tempfile.TemporaryFile(dir=self._directory, prefix="embsnap-") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            except OSError as error:
                raise StorageError(
                    ErrorKind.DISK_FULL,
                    "there is no room for what is kept of each row",
                    where=self._directory or tempfile.gettempdir(),
                    expected=f"{num_bytes} bytes",
                    found=error.strerror,
                    hint="set TMPDIR to a directory with room, raise --memory-budget, or use --sample-rows",
                ) from error
            return np.memmap(file, dtype, mode="r+", shape=(length,)).view(np.ndarray)

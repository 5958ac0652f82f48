"""Blocks of rows in order, wherever the storage has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.rows import ArrayReader

__all__ = ["read_block"]


def read_block(reader: ArrayReader, start: int, end: int, out_ND: NDArray[Any]) -> None:
    """Fill `out_ND` with the rows `[start, end)`; of storage that cannot be mapped, from what `stage` has fetched.

    Raises:
        SnapshotError, StorageError: As `ArrayReader.read`.
    """
    if reader.is_mapped:
        reader.read(start, end, out_ND)
    else:
        reader.gather(np.arange(start, end), out_ND)

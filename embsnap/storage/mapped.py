"""Wishes about memory that a file is mapped to."""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

__all__ = ["ask_for"]


def ask_for(rows: NDArray[np.uint8]) -> None:
    """Have the disk begin to read mapped bytes, of which all will be looked at; nothing waits for it.

    Args:
        rows: C-contiguous; a view of what a store mapped. Other memory is left alone.
    """
    owner: object = rows
    while isinstance(owner, np.ndarray):
        owner = owner.base
    mapped = owner.obj if isinstance(owner, memoryview) else owner
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED") or not rows.size:
        return
    start = rows.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    with suppress(OSError):
        mapped.madvise(mmap.MADV_WILLNEED, first, start + rows.nbytes - first)

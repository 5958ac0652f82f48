"""Rows compared byte by byte.

Shape suffixes: N pairs of rows, B bytes of a row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel

__all__ = ["differing_rows"]


def differing_rows(a_NB: NDArray[np.uint8], b_NB: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows of bytes differ anywhere: `bool[N]` for two `uint8[N, B]`."""
    if a_NB.shape != b_NB.shape:
        raise ValueError(f"rows of bytes {a_NB.shape} and {b_NB.shape}")
    differs_N = np.empty(len(a_NB), np.bool_)
    _differ(frozen(a_NB, np.uint8), frozen(b_NB, np.uint8), differs_N)
    return differs_N


@kernel
def _differ(a_NB: Any, b_NB: Any, differs_N: Any) -> None:
    for i in range(a_NB.shape[0]):
        bits = np.uint8(0)
        for j in range(a_NB.shape[1]):
            bits |= a_NB[i, j] ^ b_NB[i, j]
        differs_N[i] = bits != 0

"""Values that are no numbers, counted from their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel

__all__ = ["EXPONENT_BITS", "count_non_finite", "first_non_finite", "is_all_zero"]

EXPONENT_BITS: dict[str, np.unsignedinteger[Any]] = {
    "float16": np.uint16(0x7C00),
    "bfloat16": np.uint16(0x7F80),
    "float32": np.uint32(0x7F800000),
    "float64": np.uint64(0x7FF0000000000000),
}
"""By element type: the bits of the exponent, all of which are set in infinities and NaNs and in nothing else."""


def count_non_finite(bits_N: NDArray[Any], exponent: np.unsignedinteger[Any]) -> int:
    """How many values are infinite or not a number.

    Args:
        bits_N: Unsigned integers with the bits of the values.
        exponent: Of their type, from `EXPONENT_BITS`.
    """
    return int(_count(frozen(bits_N, bits_N.dtype), exponent))


def first_non_finite(bits_N: NDArray[Any], exponent: np.unsignedinteger[Any]) -> int:
    """Index of the first such value; N if there is none."""
    found = np.flatnonzero((bits_N & exponent) == exponent)
    return int(found[0]) if len(found) else len(bits_N)


def is_all_zero(bits_N: NDArray[Any]) -> bool:
    """Whether every value is zero, of either sign."""
    return not np.any(np.left_shift(bits_N, 1))


@kernel
def _count(bits_N: Any, exponent: Any) -> int:
    count = 0
    for i in range(len(bits_N)):
        count += (bits_N[i] & exponent) == exponent
    return count

"""64-bit mixing: the arithmetic that keys, partitions and random numbers are made of.

It never changes: fingerprints of vocabularies and the initial rows of entities depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from embsnap.kernels.compiler import primitive

__all__ = ["mix64", "mix64_int"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@primitive
def mix64(x: Any) -> Any:
    """The first output of SplitMix64 with state `x` (uint64): a bijection of the 64-bit numbers.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014), with Stafford's variant 13.
    """
    x = np.uint64(x) + _GOLDEN
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return x ^ (x >> _31)


def mix64_int(x: int) -> int:
    """`mix64` of a Python int, taken modulo 2**64."""
    mask = (1 << 64) - 1
    x = (x + int(_GOLDEN)) & mask
    x = ((x ^ (x >> 30)) * int(_FIRST)) & mask
    x = ((x ^ (x >> 27)) * int(_SECOND)) & mask
    return x ^ (x >> 31)

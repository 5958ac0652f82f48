"""float32 to 16 bits and back in one pass, with the errors that it makes.

Shape suffixes: N values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, summing_kernel

__all__ = ["narrow"]

_INFINITY_BITS = 0x7F800000
_RUN = 256
"""Squares are summed in float32 within so many values, in float64 beyond."""
_INT = ir.IntType(32)


@intrinsic
def _half_bits(typing_context: Any, value: Any) -> Any:
    """The bits of a float32 rounded to float16, to nearest and ties to even."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), generate


@intrinsic
def _of_half_bits(typing_context: Any, bits: Any) -> Any:
    """The float32 of the bits of a float16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def _bits(typing_context: Any, value: Any) -> Any:
    """The bits of a float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _INT)

    return types.uint32(types.float32), generate


@intrinsic
def _magnitude(typing_context: Any, value: Any) -> Any:
    """The bits of the absolute value of a float32: ordered as the values are, infinity and NaN above all."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.and_(builder.bitcast(args[0], _INT), _INT(0x7FFFFFFF))

    return types.uint32(types.float32), generate


@intrinsic
def _larger(typing_context: Any, first: Any, second: Any) -> Any:
    """The larger of two uint32, as a uint32, which numba's own `max` of them is not."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.icmp_unsigned(">", args[0], args[1]), args[0], args[1])

    return types.uint32(types.uint32, types.uint32), generate


@intrinsic
def _brain_bits(typing_context: Any, bits: Any) -> Any:
    """The bits of a bfloat16 from those of a float32, to nearest and ties to even; NaN is not minded."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        is_odd = builder.and_(builder.lshr(args[0], _INT(16)), _INT(1))
        return builder.lshr(builder.add(builder.add(args[0], _INT(0x7FFF)), is_odd), _INT(16))

    return types.uint32(types.uint32), generate


@intrinsic
def _of_brain_bits(typing_context: Any, bits: Any) -> Any:
    """The float32 of the bits of a bfloat16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.shl(args[0], _INT(16)), ir.FloatType())

    return types.float32(types.uint32), generate


def narrow(rows_ND: NDArray[np.float32], out_ND: NDArray[Any]) -> tuple[float, float] | None:
    """Round `rows_ND` to `out_ND`, float16 or bfloat16, to nearest and ties to even.

    Args:
        rows_ND: `float32[N, D]`, C-contiguous.
        out_ND: Of the same shape, C-contiguous.

    Returns:
        The largest absolute difference and the sum of the squares of all; None if a value is not finite or does not
        fit, in which case `out_ND` is spoilt.
    """
    source_N = frozen(rows_ND.reshape(-1), np.float32)
    target_N = out_ND.reshape(-1).view(np.uint16)
    function = _to_half if out_ND.dtype == np.float16 else _to_bfloat16
    most_bits, error_bits, squares = function(source_N, target_N)
    if max(most_bits, error_bits) >= _INFINITY_BITS:
        return None
    return float(np.uint32(error_bits).view(np.float32)), squares


# The loops run over slices, whose indices cannot be negative, and in 32 bits: only so are they vectorised.


@summing_kernel
def _to_half(source_N: Any, target_N: Any) -> tuple[Any, Any, float]:
    most, worst, squares = np.uint32(0), np.uint32(0), 0.0
    for start in range(0, len(source_N), _RUN):
        sources, targets = source_N[start : start + _RUN], target_N[start : start + _RUN]
        part = np.float32(0)
        for i in range(len(sources)):
            value = sources[i]
            bits = _half_bits(value)
            targets[i] = bits
            error = _of_half_bits(bits) - value
            part += error * error
            most = _larger(most, _magnitude(value))
            worst = _larger(worst, _magnitude(error))
        squares += np.float64(part)
    return most, worst, squares


@summing_kernel
def _to_bfloat16(source_N: Any, target_N: Any) -> tuple[Any, Any, float]:
    most, worst, squares = np.uint32(0), np.uint32(0), 0.0
    for start in range(0, len(source_N), _RUN):
        sources, targets = source_N[start : start + _RUN], target_N[start : start + _RUN]
        part = np.float32(0)
        for i in range(len(sources)):
            value = sources[i]
            bits = _brain_bits(_bits(value))
            targets[i] = bits
            error = _of_brain_bits(bits) - value
            part += error * error
            most = _larger(most, _magnitude(value))
            worst = _larger(worst, _magnitude(error))
        squares += np.float64(part)
    return most, worst, squares

"""Casting rows to another element type, refusing what the type cannot hold.

Shape suffixes: N rows in hand, D of their columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError

__all__ = ["cast_rows", "is_floating", "largest"]


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether elements are rounded, and not cut off."""
    return dtype.kind not in "biu"


def largest(dtype: np.dtype[Any]) -> float:
    """The largest finite value of a floating-point type."""
    return float(ml_dtypes.finfo(dtype).max)


def cast_rows(
    rows_ND: NDArray[Any], dtype: np.dtype[Any], *, place_of: Callable[[int, int], str], hint: str
) -> NDArray[Any]:
    """The rows as `dtype`.

    Args:
        rows_ND: Of any type.
        dtype: Rounds them; integers have to hold them as they are.
        place_of: What to call the place of an element, for errors.
        hint: What to try then.

    Raises:
        IncompatibleError: `cast-overflow`: a finite value is not finite as `dtype`. `not-representable`: a value is no
            such integer.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        cast_ND = rows_ND.astype(dtype)
    wrong_ND = ~np.isfinite(cast_ND) & np.isfinite(rows_ND) if is_floating(dtype) else cast_ND != rows_ND
    if not wrong_ND.any():
        return cast_ND
    row, column = (int(index) for index in np.argwhere(wrong_ND)[0])
    raise IncompatibleError(
        ErrorKind.CAST_OVERFLOW if is_floating(dtype) else ErrorKind.NOT_REPRESENTABLE,
        f"{int(wrong_ND.sum())} values of one block do not fit {dtype.name}",
        where=place_of(row, column),
        expected=f"values within ±{largest(dtype):.6g}" if is_floating(dtype) else f"what {dtype.name} holds",
        found=f"{float(rows_ND[row, column]):.6g}",
        hint=hint,
    )

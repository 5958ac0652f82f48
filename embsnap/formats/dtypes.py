"""Element types as numpy dtypes, and back."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from embsnap.model.dtypes import DTYPES, DType

__all__ = ["from_numpy", "to_numpy"]


def to_numpy(dtype: DType) -> np.dtype[Any]:
    """The numpy dtype, of this machine's byte order; bfloat16 is that of ml_dtypes."""
    name: Any = ml_dtypes.bfloat16 if dtype.name == "bfloat16" else dtype.name
    found: np.dtype[Any] = np.dtype(name)
    return found


def from_numpy(dtype: np.dtype[Any]) -> DType:
    """The element type of a numpy dtype.

    Raises:
        KeyError: Snapshots have no such element type.
    """
    return DTYPES[np.dtype(dtype).name]

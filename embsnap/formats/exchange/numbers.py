"""Numbers as text: the fewest digits that give back the same number, and back.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.exchange.elements import ARROW_TYPES

__all__ = ["arrow_values", "check_not_lost", "joined", "parsed"]


def arrow_values(values: NDArray[Any]) -> Any:
    """An Arrow array over the same memory; C-contiguous, of a dtype that Arrow has."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return pa.Array.from_buffers(ARROW_TYPES[flat.dtype.name], len(flat), [None, pa.py_buffer(flat)])


def joined(rows_ND: NDArray[Any], separator: str) -> Any:
    """Each row's numbers as one text, in an Arrow array of N strings; for some thousands of rows at a time."""
    texts = arrow_values(rows_ND).cast(pa.string())
    offsets = pa.array(np.arange(len(rows_ND) + 1, dtype=np.int32) * rows_ND.shape[1])
    return pc.binary_join(pa.ListArray.from_arrays(offsets, texts), separator)


def parsed(texts: Any, dtype: str) -> NDArray[Any]:
    """The numbers that an Arrow array of strings stands for, each rounded once.

    Raises:
        pyarrow.ArrowInvalid: One is no number.
    """
    values = texts.cast(ARROW_TYPES[dtype])
    found: NDArray[Any] = np.frombuffer(
        values.buffers()[1], dtype, len(values), values.offset * np.dtype(dtype).itemsize
    )
    return found


def check_not_lost(values_N: NDArray[Any], wide_N: NDArray[np.float64], where: str) -> None:
    """Refuse finite numbers that have become infinite.

    Args:
        values_N: As they were read.
        wide_N: The same as float64.
        where: For the message.

    Raises:
        IncompatibleError: `cast-overflow`.
    """
    lost_N = np.isinf(values_N) & np.isfinite(wide_N)
    if lost_N.any():
        raise IncompatibleError(
            ErrorKind.CAST_OVERFLOW,
            f"a number is too large for {values_N.dtype.name}",
            where=where,
            expected=f"numbers within ±{np.finfo(values_N.dtype).max:.6g}",
            found=f"{wide_N[lost_N][0]:.6g}",
        )

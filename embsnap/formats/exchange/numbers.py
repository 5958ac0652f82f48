"""Numbers as text: the fewest digits that give back the same number, and back.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embsnap.formats.exchange.elements import ARROW_TYPES

__all__ = ["arrow_values", "joined", "parsed"]


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

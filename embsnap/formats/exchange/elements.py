"""Element types in files: which of them a format has, and wider ones that hold the same values.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.model.exchange import ExchangeFormat

__all__ = ["ARROW_TYPES", "NARROWER", "in_dtype", "narrowed", "numpy_dtype", "stored_dtype"]

ARROW_TYPES = {
    "float64": pa.float64(),
    "float32": pa.float32(),
    "float16": pa.float16(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "int16": pa.int16(),
    "int8": pa.int8(),
    "uint8": pa.uint8(),
}
"""By numpy's names. Arrow has no bfloat16."""
_SAFE = {*ARROW_TYPES, "bfloat16"}
NARROWER = {"float16", "bfloat16", "int16", "int8", "uint8"}
"""Types whose every value float32 holds."""
_IN_FLOAT32 = {"float32", *NARROWER}
_TEXT = {ExchangeFormat.CSV, ExchangeFormat.WORD2VEC, ExchangeFormat.WORD2VEC_BINARY}


def stored_dtype(dtype: str, target: ExchangeFormat) -> str:
    """The element type in which a format keeps values of `dtype`, each of them exactly.

    Raises:
        IncompatibleError: `not-representable`.
    """
    if target is ExchangeFormat.SAFETENSORS and dtype in _SAFE:
        return dtype
    if target in (ExchangeFormat.WORD2VEC, ExchangeFormat.WORD2VEC_BINARY) and dtype in _IN_FLOAT32:
        return "float32"
    if dtype in ("float16", "bfloat16") and (target in _TEXT or dtype == "bfloat16"):
        return "float32"
    if dtype in ARROW_TYPES and target not in (ExchangeFormat.WORD2VEC, ExchangeFormat.WORD2VEC_BINARY):
        return dtype
    raise IncompatibleError(
        ErrorKind.NOT_REPRESENTABLE,
        f"{target} has no element type that holds these values exactly",
        expected=f"one of {', '.join(sorted(_IN_FLOAT32 if 'word2vec' in target else _SAFE))}",
        found=dtype,
        hint="choose another format, or cast the table with `embsnap migrate` first",
    )


def numpy_dtype(name: str) -> np.dtype[Any]:
    """By its name; bfloat16 is that of ml_dtypes."""
    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    return found


def in_dtype(rows_ND: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The same values in an element type that holds them; a bfloat16 keeps its bits, whatever they are."""
    if rows_ND.dtype.name == dtype:
        return rows_ND
    if (rows_ND.dtype.name, dtype) == ("bfloat16", "float32"):
        return (rows_ND.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return rows_ND.astype(numpy_dtype(dtype))


def narrowed(rows_ND: NDArray[np.float32], dtype: str, where: str) -> NDArray[Any]:
    """What `in_dtype` was given.

    Raises:
        IncompatibleError: `not-representable`: no value of that type becomes one of these.
    """
    if dtype == "bfloat16":
        bits_ND = rows_ND.view(np.uint32)
        found_ND: NDArray[Any] = (bits_ND >> 16).astype(np.uint16).view(ml_dtypes.bfloat16)
        is_right = not (bits_ND & 0xFFFF).any()
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            found_ND = rows_ND.astype(numpy_dtype(dtype))
        is_right = np.array_equal(found_ND.astype(np.float32), rows_ND, equal_nan=True)
    if is_right:
        return found_ND
    raise IncompatibleError(
        ErrorKind.NOT_REPRESENTABLE,
        f"holds numbers that are no {dtype}, which its table was of",
        where=where,
        expected=f"what was exported from a table of {dtype}",
        hint="import the file by its own name, NAME=URI, so that it is taken as it stands",
    )

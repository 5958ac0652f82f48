"""Vectors as Arrow columns of lists, and ids and rows beside them.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.exchange.content import CARD_KEY, Blocks, Entities, TableCard
from embsnap.formats.exchange.elements import ARROW_TYPES
from embsnap.formats.parquet import is_list

__all__ = ["VECTOR", "find_vector", "record_batches", "schema_of", "vector_type", "vectors_of"]

VECTOR = "vector"
"""Name of the column of vectors."""
_NAMES = (VECTOR, "embedding", "embeddings", "vec", "values")
_DTYPES = {str(arrow_type): name for name, arrow_type in ARROW_TYPES.items()}


def schema_of(entities: Entities, dim: int, dtype: str, card: TableCard) -> Any:
    """The columns of an export, and the card in their metadata."""
    fields = [pa.field(name, array.type) for name, array in entities.arrays(0, 0).items()]
    vector = pa.field(VECTOR, pa.list_(pa.field("element", ARROW_TYPES[dtype], nullable=False), dim), nullable=False)
    return pa.schema([*fields, vector], metadata={CARD_KEY: card.encode()})


def record_batches(entities: Entities, blocks: Blocks, schema: Any) -> Iterator[Any]:
    """One record batch for each block."""
    start = 0
    for rows_ND in blocks:
        end = start + len(rows_ND)
        values = pa.Array.from_buffers(
            schema.field(VECTOR).type.value_type, rows_ND.size, [None, pa.py_buffer(rows_ND)]
        )
        vector = pa.FixedSizeListArray.from_arrays(values, type=schema.field(VECTOR).type)
        yield pa.record_batch([*entities.arrays(start, end).values(), vector], schema=schema)
        start = end


def find_vector(where: str, types: dict[str, Any], given: str | None) -> str:
    """The column of vectors: the one given, else one with a usual name, else the only column of lists of numbers.

    Raises:
        IncompatibleError: `shape-mismatch`: there is none, or several.
    """
    lists = [name for name, arrow_type in types.items() if is_list(arrow_type)]
    if given is not None:
        found = [given] if given in lists else []
    else:
        found = [name for name in lists if name.lower() in _NAMES] or lists
    if len(found) == 1:
        return found[0]
    raise IncompatibleError(
        ErrorKind.SHAPE_MISMATCH,
        "it cannot be told which column holds the vectors",
        where=where,
        expected=f"a column of lists of numbers named {given or ' or '.join(_NAMES)}",
        found=", ".join(f"{name} ({arrow_type})" for name, arrow_type in types.items()),
        hint="name it with --vector-column",
    )


def vector_type(where: str, arrow_type: Any) -> tuple[str, int | None]:
    """Numpy's name of the elements, and D where the type says it.

    Raises:
        IncompatibleError: `dtype-mismatch`.
    """
    dtype = _DTYPES.get(str(arrow_type.value_type))
    if dtype is None:
        expected = ", ".join(_DTYPES)
        raise IncompatibleError(
            ErrorKind.DTYPE_MISMATCH,
            "tables have no such elements",
            where=where,
            expected=f"lists of {expected}",
            found=arrow_type,
        )
    return dtype, arrow_type.list_size if pa.types.is_fixed_size_list(arrow_type) else None


def vectors_of(where: str, arrays: Sequence[Any], dim: int, dtype: str) -> Iterator[NDArray[Any]]:
    """`[N, D]` of each array of lists; not copied.

    Raises:
        IncompatibleError: `shape-mismatch`: a list is null, holds a null, or is not of D elements.
    """
    for array in arrays:
        values = array.flatten()
        lengths = set() if pa.types.is_fixed_size_list(array.type) else set(np.diff(_offsets(array)).tolist())
        if array.null_count or values.null_count or lengths - {dim} or len(values) != len(array) * dim:
            found = "nulls" if array.null_count or values.null_count else f"lengths {sorted(lengths)[:5]}"
            raise IncompatibleError(
                ErrorKind.SHAPE_MISMATCH,
                "its vectors are not all of one length",
                where=where,
                expected=f"{dim} numbers in every row",
                found=found,
            )
        if not len(values):
            yield np.empty((0, dim), dtype)
            continue
        itemsize = np.dtype(dtype).itemsize
        flat: NDArray[Any] = np.frombuffer(values.buffers()[1], dtype, len(values), values.offset * itemsize)
        yield flat.reshape(-1, dim)


def _offsets(array: Any) -> NDArray[Any]:
    dtype = np.dtype(np.int64 if pa.types.is_large_list(array.type) else np.int32)
    if not len(array):
        return np.zeros(1, dtype)
    found: NDArray[Any] = np.frombuffer(array.buffers()[1], dtype, len(array) + 1, array.offset * dtype.itemsize)
    return found

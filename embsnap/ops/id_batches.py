"""Batches of entity ids as callers have them, as numpy, Arrow or Python values, without copies where that can be.

Shape suffixes: N ids in hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.parquet import bytes_of, integers_of
from embsnap.model.vocabulary import BytesIds, Ids, IdType

__all__ = ["arrow_ids", "ids_of", "integers"]

_ARROW_TYPES = {
    IdType.INT64: pa.int64(),
    IdType.UINT64: pa.uint64(),
    IdType.STRING: pa.large_string(),
    IdType.BINARY: pa.large_binary(),
}


def ids_of(values: Any, id_type: IdType | None = None, *, what: str = "ids") -> tuple[IdType, Ids]:
    """A batch of ids, and their type.

    Not copied: contiguous numpy arrays of int64 and uint64, Arrow arrays of these, the bytes of Arrow strings, and the
    offsets of `large_string` and `large_binary`.

    Args:
        values: One-dimensional: a numpy array, an Arrow array or chunked array (dictionary-encoded or not), a
            `BytesIds`, or a sequence of Python values.
        id_type: What they must be; None to take them as they are. A `BytesIds` and an empty sequence are of this type.
        what: What to call them in a message.

    Raises:
        IncompatibleError: `id-type-mismatch`: they are of another type, or of one that ids cannot have; `null-ids`.
    """
    found: IdType
    ids: Ids
    if isinstance(values, BytesIds):
        found, ids = IdType.STRING if id_type is IdType.STRING else IdType.BINARY, values
    elif isinstance(values, np.ndarray) and values.dtype.kind in "iu" and values.ndim == 1:
        found, ids = _of_integers(values)
    elif not isinstance(values, (pa.Array, pa.ChunkedArray)) and len(values) == 0 and id_type is not None:
        found, ids = _of_arrow(pa.array([], _ARROW_TYPES[id_type]), what)
    else:
        found, ids = _of_arrow(_as_arrow(values, what, id_type), what)
    if id_type is not None and found is not id_type:
        raise _mismatch(what, f"{id_type} ids", f"{found} ids")
    return found, ids


def integers(values: Any, what: str) -> NDArray[np.int64]:
    """Integers as `int64[N]`; contiguous int64 in numpy or in one Arrow chunk is not copied.

    Args:
        values: One-dimensional: a numpy or Arrow array or a sequence.
        what: What to call them in a message.

    Raises:
        IncompatibleError: `id-type-mismatch`: they are no integers, or of uint64; `null-ids`: some are null.
    """
    _, found = ids_of(values, IdType.INT64, what=what)
    assert not isinstance(found, BytesIds)
    return np.asarray(found, np.int64)


def arrow_ids(id_type: IdType, ids: Ids) -> pa.Array:
    """Ids as an Arrow array of `int64`, `uint64`, `large_string` or `large_binary`, without a copy."""
    if not isinstance(ids, BytesIds):
        return pa.array(ids)
    buffers = [None, pa.py_buffer(np.ascontiguousarray(ids.offsets)), pa.py_buffer(np.ascontiguousarray(ids.data))]
    return pa.Array.from_buffers(_ARROW_TYPES[id_type], len(ids), buffers)


def _as_arrow(values: Any, what: str, id_type: IdType | None) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    try:
        return _of_values(values, id_type)
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        raise _mismatch(what, "integers, strings or bytes, all of one type", str(error)[:100]) from error


def _of_values(values: Any, id_type: IdType | None) -> pa.Array:
    """Python's integers are of no width: they are unsigned where that is wanted, or one of them is beyond int64."""
    try:
        array = pa.array(values)
    except OverflowError:
        return pa.array(values, pa.uint64())
    is_untyped = getattr(values, "dtype", np.dtype(object)) == np.dtype(object)
    if id_type is IdType.UINT64 and is_untyped and pa.types.is_int64(array.type):
        return pa.array(values, pa.uint64())
    return array


def _of_integers(values: Any) -> tuple[IdType, Ids]:
    if values.dtype == np.uint64:
        return IdType.UINT64, np.ascontiguousarray(values)
    return IdType.INT64, np.ascontiguousarray(values, np.int64)


def _of_arrow(array: Any, what: str) -> tuple[IdType, Ids]:
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    if array.null_count:
        raise IncompatibleError(
            ErrorKind.NULL_IDS,
            f"{array.null_count:,} of {len(array):,} {what} are null",
            expected="an id each",
            found="nulls",
            hint="drop them, or fill them with an id that stands for nothing",
        )
    found = array.type
    if pa.types.is_integer(found):
        return _of_integers(integers_of(array))
    if pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found):
        return IdType.STRING, _of_bytes(array)
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    if any(check(found) for check in binary):
        return IdType.BINARY, _of_bytes(array)
    raise _mismatch(what, "integers, strings or bytes", str(found))


def _of_bytes(array: Any) -> BytesIds:
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    offsets, data = bytes_of(array)
    return BytesIds(np.asarray(offsets, np.int64), data)


def _mismatch(what: str, expected: str, found: str) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.ID_TYPE_MISMATCH,
        f"the {what} are of a type that matches none",
        expected=expected,
        found=found,
        hint="cast them to the type of the vocabulary's ids",
    )

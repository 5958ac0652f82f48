"""Choosing, joining and sorting ids, whatever their type, without a Python object for each.

Shape suffix: N ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.formats.parquet import bytes_of, integers_of
from embsnap.model.vocabulary import BytesIds, Ids

__all__ = ["arrow_ids", "concat_ids", "factorize_ids", "order_of_ids", "take_ids"]


def arrow_ids(ids: Ids) -> Any:
    """Ids as an Arrow array that shares their memory: int64, uint64, or large_binary for strings and bytes."""
    if not isinstance(ids, BytesIds):
        return pa.array(ids)
    buffers = [None, pa.py_buffer(np.ascontiguousarray(ids.offsets)), pa.py_buffer(np.ascontiguousarray(ids.data))]
    return pa.Array.from_buffers(pa.large_binary(), len(ids), buffers)


def take_ids(ids: Ids, index_N: NDArray[np.int64]) -> Ids:
    """The ids at `index_N`, in that order."""
    if not isinstance(ids, BytesIds):
        return ids[index_N]
    return _bytes_ids(arrow_ids(ids).take(pa.array(index_N)))


def concat_ids(parts: Sequence[Ids]) -> Ids:
    """One array of all ids, which are of one type; of at least one part."""
    numbers = [part for part in parts if not isinstance(part, BytesIds)]
    if numbers:
        numbers_N: NDArray[Any] = np.concatenate(numbers)
        return numbers_N
    return _bytes_ids(pa.concat_arrays([arrow_ids(part) for part in parts]))


def order_of_ids(ids: Ids) -> NDArray[np.int64]:
    """Indices that sort the ids: numbers by value, strings and bytes by their bytes; equal ones in their order."""
    if not isinstance(ids, BytesIds):
        return np.argsort(ids, kind="stable")
    numbered = pa.table({"id": arrow_ids(ids), "index": np.arange(len(ids))})
    return integers_of(numbered.sort_by("id")["index"].combine_chunks())


def factorize_ids(ids: Ids) -> tuple[Ids, NDArray[np.int64]]:
    """The distinct ids, ascending, and for each of the N ids the index of the distinct one."""
    if not isinstance(ids, BytesIds):
        distinct: NDArray[Any]
        distinct, code_N = np.unique(ids, return_inverse=True)
        return distinct, code_N.reshape(-1).astype(np.int64)
    encoded = arrow_ids(ids).dictionary_encode()
    found = _bytes_ids(encoded.dictionary)
    order = order_of_ids(found)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return take_ids(found, order), rank[integers_of(encoded.indices)]


def _bytes_ids(array: Any) -> BytesIds:
    offsets, data = bytes_of(array)
    return BytesIds(offsets.astype(np.int64, copy=False), data)

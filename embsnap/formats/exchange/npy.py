"""Tables as numpy files: the matrix in `user.npy`, and beside it `user.ids.npy` and `user.rows.npy`.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embsnap.formats.exchange.content import (
    Blocks,
    Entities,
    Place,
    TableCard,
    TableContent,
    bad_file,
    checked_rows,
)
from embsnap.formats.exchange.elements import ARROW_TYPES, numpy_dtype
from embsnap.formats.exchange.ids import ids_of_arrays, not_representable
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.exchange.vectors import StoredVectors
from embsnap.model.vocabulary import BytesIds, IdType
from embsnap.storage.base import RangeRead, Store
from embsnap.storage.local_errors import no_such_object
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["beside", "check_npy_ids", "read_npy", "write_npy"]

_BLOCK_IDS = 1 << 16
_MAX_ID_CHARS = 1024
"""numpy gives every id as much room as the longest."""
_MAX_HEADER_BYTES = 16 << 10
_MAGIC = b"\x93NUMPY"


def beside(location: str, what: str) -> str:
    """`user.npy`, `ids` → `user.ids.npy`."""
    return f"{location.removesuffix('.npy')}.{what}.npy"


def check_npy_ids(entities: Entities, where: str) -> None:
    """Refuse ids that numpy's strings of fixed length do not keep.

    Raises:
        IncompatibleError: `not-representable`: one is very long, or ends in a NUL.
    """
    ids = entities.ids
    if not isinstance(ids, BytesIds):
        return
    longest = int(np.diff(ids.offsets).max(initial=0))
    if longest > _MAX_ID_CHARS:
        raise not_representable(where, "npy", f"is no place for ids of more than {_MAX_ID_CHARS} bytes", longest)
    ends = ids.offsets[1:][np.diff(ids.offsets) > 0]
    if len(ends) and not ids.data[ends - 1].all():
        raise not_representable(where, "npy", "keeps no NUL at the end of an id")


def write_npy(place: Place, entities: Entities, dim: int, dtype: str, card: TableCard, blocks: Blocks) -> None:
    """Write the matrix, and the ids and rows of its vectors."""
    store, location = place.store, place.location
    _write(store, location, numpy_dtype(dtype), (len(entities), dim), blocks)
    _write(store, beside(location, "rows"), np.dtype(np.int64), (len(entities),), [entities.rows_N])
    if entities.ids is not None:
        id_dtype = entities.ids.dtype if not isinstance(entities.ids, BytesIds) else _text_dtype(entities)
        _write(store, beside(location, "ids"), id_dtype, (len(entities),), _id_blocks(entities, id_dtype))


def _write(store: Store, location: str, dtype: np.dtype[Any], shape: tuple[int, ...], blocks: Blocks) -> None:
    header = io.BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    with store.writer(location) as writer:
        writer.write(header.getvalue())
        for block in blocks:
            writer.write(np.ascontiguousarray(block).view(np.uint8).reshape(-1).data)


def _text_dtype(entities: Entities) -> np.dtype[Any]:
    """Room for the longest id: characters of strings, else bytes."""
    longest = 1
    for start in range(0, len(entities), _BLOCK_IDS):
        array = entities.id_array(start, min(start + _BLOCK_IDS, len(entities)))
        lengths = pc.utf8_length(array) if entities.id_type is IdType.STRING else pc.binary_length(array)
        longest = max(longest, pc.max(lengths).as_py() or 0)
    return np.dtype(f"{'<U' if entities.id_type is IdType.STRING else 'S'}{longest}")


def _id_blocks(entities: Entities, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(entities), _BLOCK_IDS):
        array = entities.id_array(start, min(start + _BLOCK_IDS, len(entities)))
        yield np.array(array.to_pylist(), dtype)


def read_npy(uri: str, options: ReadOptions) -> TableContent:
    """Open a matrix, and what stands beside it under the names that `write_npy` gives.

    Raises:
        SnapshotError: `bad-export`: it is no numpy file of a matrix of numbers, or damaged.
        NotFoundError, StorageError: It cannot be read.
    """
    root, name = split_uri(uri)
    store = open_store(root, options.storage_options)
    shape, dtype, offset = _header(store, name)
    if len(shape) != 2 or dtype.newbyteorder("=").name not in ARROW_TYPES:
        raise bad_file(uri, "is no matrix of numbers", "two dimensions of numbers", f"{list(shape)} of {dtype}")
    content = TableContent(
        StoredVectors(store, name, offset, (shape[0], shape[1]), dtype), dtype.newbyteorder("=").name
    )
    rows_N, ids_N = _beside(store, name, "rows", shape[0]), _beside(store, name, "ids", shape[0])
    ids = None if ids_N is None else _ids(uri, ids_N)
    return TableContent(
        content.vectors,
        content.dtype,
        None if ids is None else ids[1],
        None if ids is None else ids[0],
        None if rows_N is None else checked_rows(join_uri(root, beside(name, "rows")), rows_N),
    )


def _header(store: Store, location: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    where = join_uri(store.uri, location)
    info = store.stat(location)
    if info is None:
        raise no_such_object(where)
    start = bytearray(min(info.size, _MAX_HEADER_BYTES))
    store.read_ranges(location, [RangeRead(0, memoryview(start))] if start else [])
    try:
        shape, is_fortran, dtype, offset = _parsed(bytes(start))
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        found = " ".join(str(error).split())[:100]
        raise bad_file(where, "is no numpy file", "an array that numpy.save wrote", found) from None
    num_bytes = offset + prod(shape) * dtype.itemsize
    if dtype.hasobject or dtype.fields is not None or (is_fortran and len(shape) > 1):
        found = f"{dtype}{' by columns' if is_fortran else ''}"
        raise bad_file(where, "is no array of plain values, row after row", "numbers or text", found)
    if num_bytes != info.size:
        raise bad_file(where, "is not as long as its header says", f"{num_bytes} bytes", f"{info.size} bytes")
    return shape, dtype, offset


def _parsed(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether by columns, element type, and where the values begin."""
    if data[:6] != _MAGIC or data[6:7] not in (b"\1", b"\2", b"\3"):
        raise ValueError(f"it begins with {data[:8]!r}")
    begin = 10 if data[6:7] == b"\1" else 12
    end = begin + int.from_bytes(data[8:begin], "little")
    if end > len(data):
        raise ValueError(f"its header ends at {end}")
    fields = ast.literal_eval(data[begin:end].decode("latin1").strip())
    shape, descr = fields["shape"], fields["descr"]
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"the shape {shape!r:.40}")
    if not isinstance(descr, str):
        raise TypeError("elements of several parts")
    return shape, bool(fields["fortran_order"]), np.dtype(descr), end


def _beside(store: Store, name: str, what: str, num: int) -> NDArray[Any] | None:
    location = beside(name, what)
    if store.stat(location) is None:
        return None
    shape, dtype, offset = _header(store, location)
    if shape != (num,):
        where, expected = join_uri(store.uri, location), f"{num} values, one for each vector"
        raise bad_file(where, "does not fit the matrix beside it", expected, list(shape))
    data = bytearray(num * dtype.itemsize)
    store.read_ranges(location, [RangeRead(offset, memoryview(data))] if data else [])
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


def _ids(uri: str, ids_N: NDArray[Any]) -> tuple[IdType, Any]:
    kind = ids_N.dtype.kind
    if kind in "iu":
        id_type = IdType.UINT64 if ids_N.dtype == np.uint64 else IdType.INT64
        return id_type, ids_N.astype(np.uint64 if id_type is IdType.UINT64 else np.int64)
    if kind not in "US":
        raise bad_file(uri, "has ids of another kind beside it", "integers, text or bytes", ids_N.dtype)
    id_type, arrow_type = (IdType.STRING, pa.large_string()) if kind == "U" else (IdType.BINARY, pa.large_binary())
    starts = range(0, len(ids_N), _BLOCK_IDS)
    arrays = [pa.array(ids_N[start : start + _BLOCK_IDS].tolist(), arrow_type) for start in starts]
    return id_type, ids_of_arrays(uri, arrays, id_type)

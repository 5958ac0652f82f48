"""Tables as safetensors: tensors `weight`, `rows` and `ids`; text ids as `ids.offsets` and `ids.bytes`.

The file is a length of 8 bytes, a JSON header of that many, and the tensors' bytes.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.exchange.content import (
    CARD_KEY,
    Blocks,
    Entities,
    Place,
    TableCard,
    TableContent,
    bad_file,
    checked_rows,
)
from embsnap.formats.exchange.elements import numpy_dtype
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.exchange.vectors import StoredVectors
from embsnap.model.vocabulary import BytesIds, Ids, IdType
from embsnap.storage.base import RangeRead, Store
from embsnap.storage.local_errors import no_such_object
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["read_safetensors", "write_safetensors"]

_WEIGHT = "weight"
_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint64": "U64",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_MAX_HEADER_BYTES = 100 << 20
"""As the format's own readers have it."""
_PIECE_BYTES = 8 << 20


def write_safetensors(place: Place, entities: Entities, dim: int, dtype: str, card: TableCard, blocks: Blocks) -> None:
    """Write all tensors, the vectors last."""
    arrays = {"rows": entities.rows_N, **_id_tensors(entities.ids)}
    header: dict[str, Any] = {"__metadata__": {CARD_KEY: card.encode(), "format": "pt"}}
    end = 0
    sizes = {name: (array.dtype.name, list(array.shape), array.nbytes) for name, array in arrays.items()}
    itemsize = numpy_dtype(dtype).itemsize
    for name, (dtype_name, shape, num_bytes) in {
        **sizes,
        _WEIGHT: (dtype, [len(entities), dim], len(entities) * dim * itemsize),
    }.items():
        header[name] = {"dtype": _NAMES[dtype_name], "shape": shape, "data_offsets": [end, end + num_bytes]}
        end += num_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with place.store.writer(place.location) as writer:
        writer.write(len(text).to_bytes(8, "little") + text)
        for block in chain(arrays.values(), blocks):
            view = np.ascontiguousarray(block).view(np.uint8).reshape(-1).data
            for start in range(0, len(view), _PIECE_BYTES):
                writer.write(view[start : start + _PIECE_BYTES])


def _id_tensors(ids: Ids | None) -> dict[str, NDArray[Any]]:
    """Multiples of 8 bytes first, so that every tensor but that of bytes begins at one."""
    if ids is None:
        return {}
    if not isinstance(ids, BytesIds):
        return {"ids": ids}
    offsets = ids.offsets - ids.offsets[0]
    data = np.zeros(-(-int(offsets[-1]) // 8) * 8, np.uint8)
    data[: offsets[-1]] = ids.data[ids.offsets[0] : ids.offsets[-1]]
    return {"ids.offsets": offsets, "ids.bytes": data}


@dataclass(frozen=True, slots=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte in the object."""
    num_bytes: int


def read_safetensors(uri: str, options: ReadOptions) -> TableContent:
    """Open a file. Ids and rows are taken only from files that `write_safetensors` wrote.

    Raises:
        IncompatibleError: `shape-mismatch`: it cannot be told which tensor holds the vectors.
        SnapshotError: `bad-export`: it is no such file, or damaged.
        NotFoundError, StorageError: It cannot be read.
    """
    root, name = split_uri(uri)
    store = open_store(root, options.storage_options)
    metadata, tensors = _header(store, name)
    weight = tensors[_find(uri, tensors, options.vector_column)]
    shape = (weight.shape[0], weight.shape[1])
    vectors = StoredVectors(store, name, weight.start, shape, numpy_dtype(weight.dtype))
    card = TableCard.decode(metadata.get(CARD_KEY))
    if card is None:
        return TableContent(vectors, weight.dtype)
    found = {key: _values(store, name, tensor) for key, tensor in tensors.items() if key in _BESIDE}
    ids = _ids(uri, found, card, shape[0])
    rows_N = found.get("rows")
    if rows_N is not None and rows_N.shape != (shape[0],):
        raise bad_file(uri, "has rows that do not fit its vectors", f"{shape[0]} rows", list(rows_N.shape))
    id_type = None if ids is None or card.id_type is None else IdType(card.id_type)
    return TableContent(
        vectors, weight.dtype, ids, id_type, None if rows_N is None else checked_rows(uri, rows_N), None, card
    )


_BESIDE = ("rows", "ids", "ids.offsets", "ids.bytes")


def _header(store: Store, name: str) -> tuple[Mapping[str, Any], dict[str, _Tensor]]:
    where = join_uri(store.uri, name)
    info = store.stat(name)
    if info is None:
        raise no_such_object(where)
    length = int.from_bytes(_bytes(store, name, 0, min(8, info.size)), "little")
    if not 2 <= length <= min(_MAX_HEADER_BYTES, info.size - 8):
        raise bad_file(where, "is no safetensors file", "the length of its header first", f"{length} bytes")
    try:
        document = json.loads(_bytes(store, name, 8, length))
        metadata = document.pop("__metadata__", {})
        tensors = {key: _tensor(fields, 8 + length, info.size) for key, fields in document.items()}
        if not isinstance(metadata, dict):
            raise TypeError("metadata that is no object")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = " ".join(f"{type(error).__name__} {error}".split())[:100]
        raise bad_file(where, "has a header that cannot be right", "tensors within the file", found) from None
    texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
    return texts, {key: tensor for key, tensor in tensors.items() if tensor is not None}


def _tensor(fields: Mapping[str, Any], base: int, size: int) -> _Tensor | None:
    """None for element types that tables do not have."""
    dtype = _DTYPES.get(fields["dtype"])
    start, end = map(_count, fields["data_offsets"])
    shape = tuple(map(_count, fields["shape"]))
    if not start <= end <= size - base:
        raise ValueError(f"bytes [{start}, {end})")
    if dtype is None:
        return None
    if prod(shape) * numpy_dtype(dtype).itemsize != end - start:
        raise ValueError(f"{end - start} bytes for {list(shape)} of {dtype}")
    return _Tensor(dtype, shape, base + start, end - start)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"no count: {value!r:.40}")
    return value


def _find(uri: str, tensors: Mapping[str, _Tensor], given: str | None) -> str:
    matrices = [name for name, tensor in tensors.items() if len(tensor.shape) == 2]
    wanted = [_WEIGHT] if given is None and _WEIGHT in matrices else matrices if given is None else [given]
    if len(wanted) == 1 and wanted[0] in matrices:
        return wanted[0]
    raise IncompatibleError(
        ErrorKind.SHAPE_MISMATCH,
        "it cannot be told which tensor holds the vectors",
        where=uri,
        expected=f"a matrix named {given or _WEIGHT}",
        found=", ".join(matrices[:20]) or "no matrix",
        hint="name it with --vector-column",
    )


def _ids(uri: str, found: Mapping[str, NDArray[Any]], card: TableCard, num: int) -> Ids | None:
    if card.id_type is None:
        return None
    if card.id_type in (IdType.INT64, IdType.UINT64):
        numbers = found.get("ids")
        if numbers is not None and numbers.shape == (num,) and numbers.dtype.name == card.id_type:
            return numbers
    else:
        offsets, data = found.get("ids.offsets"), found.get("ids.bytes")
        if offsets is not None and data is not None and _are_offsets(offsets, len(data), num):
            return BytesIds(offsets, data)
    raise bad_file(uri, "has ids that do not fit its vectors", f"{num} {card.id_type} ids")


def _are_offsets(offsets: NDArray[Any], num_bytes: int, num: int) -> bool:
    right = offsets.dtype == np.int64 and offsets.shape == (num + 1,) and offsets[0] == 0
    return bool(right and (np.diff(offsets) >= 0).all() and offsets[-1] <= num_bytes)


def _values(store: Store, name: str, tensor: _Tensor) -> NDArray[Any]:
    data = _bytes(store, name, tensor.start, tensor.num_bytes)
    return np.frombuffer(data, numpy_dtype(tensor.dtype)).reshape(tensor.shape)


def _bytes(store: Store, name: str, start: int, num_bytes: int) -> bytearray:
    data = bytearray(num_bytes)
    store.read_ranges(name, [RangeRead(start, memoryview(data))] if num_bytes else [])
    return data

"""Aliases: parquet files that say which old id becomes which new one.

Shape suffixes: P pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.id_arrays import concat_ids
from embsnap.formats.parquet import ParquetObject, bytes_of, integers_of
from embsnap.formats.vocabulary_columns import id_type_of
from embsnap.formats.vocabulary_files import find_parquet
from embsnap.model.vocabulary import BytesIds, Ids, IdType

__all__ = ["Aliases", "read_aliases"]

_BATCH_ROWS = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Aliases:
    """P pairs of an old id and what it becomes."""

    uri: str
    old_ids: Ids
    new_ids: Ids
    weights_P: NDArray[np.float64]
    """Of two old ids that become one new id, the heavier is its donor; 1 by default."""

    def __len__(self) -> int:
        return len(self.weights_P)


def read_aliases(uri: str, id_type: IdType, options: Mapping[str, str] | None = None) -> Aliases:
    """Read the columns `old_id`, `new_id` and perhaps `weight` of a parquet file, a directory or a glob.

    Args:
        uri: Where.
        id_type: Of both columns of ids.
        options: Of the store.

    Raises:
        NotFoundError: `no-such-object`.
        IncompatibleError: `bad-vocabulary`: a column is missing, null or of a type that cannot be; `id-type-mismatch`.
        SnapshotError: `bad-parquet`.
    """
    found = find_parquet(uri, options)
    parts: list[tuple[Ids, Ids, NDArray[np.float64]]] = []
    for location in found.locations:
        file = ParquetObject(found.store, location)
        names = _columns(file, id_type)
        for group in range(len(file.row_groups)):
            for arrays in file.batches(group, names, _BATCH_ROWS):
                if any(array.null_count for array in arrays):
                    raise _bad(file, "has nulls", "an old id and a new one in each record")
                weights = arrays[2].cast(pa.float64()) if len(arrays) > 2 else None
                parts.append((_ids(arrays[0], id_type), _ids(arrays[1], id_type), _weights(weights, len(arrays[0]))))
    if not parts:
        parts = [(_ids(pa.array([], pa.int64()), id_type), _ids(pa.array([], pa.int64()), id_type), np.empty(0))]
    old_parts, new_parts, weights = zip(*parts, strict=True)
    return Aliases(uri, concat_ids(old_parts), concat_ids(new_parts), np.concatenate(weights))


def _columns(file: ParquetObject, id_type: IdType) -> list[str]:
    for name in ("old_id", "new_id"):
        if (found := id_type_of(file, name)) is not id_type:
            raise IncompatibleError(
                ErrorKind.ID_TYPE_MISMATCH,
                f"column {name!r} holds ids of another type than the vocabulary",
                where=file.uri,
                expected=id_type,
                found=found,
                hint="write the aliases in the type of the vocabulary's ids",
            )
    if "weight" not in file.names:
        return ["old_id", "new_id"]
    arrow_type = file.type_of("weight")
    if not (pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type)):
        raise _bad(file, f"column 'weight' is of type {arrow_type}", "numbers")
    return ["old_id", "new_id", "weight"]


def _ids(array: Any, id_type: IdType) -> Ids:
    if id_type in (IdType.INT64, IdType.UINT64):
        numbers_P: NDArray[Any] = integers_of(array).astype(np.int64 if id_type is IdType.INT64 else np.uint64)
        return numbers_P
    if not len(array):
        return BytesIds(np.zeros(1, np.int64), np.empty(0, np.uint8))
    offsets, data = bytes_of(array)
    return BytesIds(offsets.astype(np.int64), data)


def _weights(array: Any, num: int) -> NDArray[np.float64]:
    return np.ones(num) if array is None else np.array(array.to_numpy(zero_copy_only=False), np.float64)


def _bad(file: ParquetObject, problem: str, expected: str) -> IncompatibleError:
    return IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=file.uri, expected=expected)

"""Which records of a vocabulary have one of some values in a column.

Shape suffixes: N records, in the order of the files' names and of the rows in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.parquet import ParquetObject, integers_of
from embsnap.formats.vocabulary_files import find_parquet

__all__ = ["records_with"]

_BATCH_ROWS = 1 << 16


def records_with(
    uri: str, column: str, values: Sequence[int | str | bool], *, options: Mapping[str, str] | None = None
) -> NDArray[np.bool_]:
    """`bool[N]`: whether the record's value in `column` is one of `values`; null is none of them.

    Raises:
        IncompatibleError: `bad-vocabulary`: there is no such column, or its type holds none of the values.
        NotFoundError: `no-such-object`: no parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    found = find_parquet(uri, options)
    parts = []
    for location in found.locations:
        file = ParquetObject(found.store, location)
        if column not in file.names:
            raise _bad(file.uri, f"there is no column {column}", f"one of {', '.join(file.names)}")
        for group in range(len(file.row_groups)):
            for (array,) in file.batches(group, (column,), _BATCH_ROWS):
                parts.append(_matches(array, column, values, file.uri))
    return np.concatenate(parts) if parts else np.empty(0, np.bool_)


def _matches(array: pa.Array, column: str, values: Sequence[int | str | bool], where: str) -> NDArray[np.bool_]:
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    try:
        wanted = pa.array(list(values), type=array.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise _bad(where, f"column {column} is of type {array.type}", f"one that holds {list(values)}") from error
    return integers_of(pc.is_in(array, value_set=wanted).cast(pa.uint8())).astype(np.bool_)


def _bad(where: str, problem: str, expected: str) -> IncompatibleError:
    return IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=where, expected=expected)

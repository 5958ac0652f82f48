"""The files of NVTabular's `Categorify`: `unique.<column>.parquet`, and `meta.<column>.parquet` beside it.

Row 0 is for padding, 1 for nulls, 2 and on for unknown ids, then come the entities. Which row an entity has is the
index of the pandas frame in the unique file; the meta file names where each kind begins. Both are read, and must agree.
The unique file may be a directory of parts. Files of before the meta file begin with a null, whose row 0 is for nulls
and unknown ids alike.

Shape suffixes: N entities.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.nvtabular_files import find_categories, unique_name
from embsnap.formats.nvtabular_rows import KINDS, NULL_OFFSET, OOV_OFFSET, rows_of
from embsnap.formats.parquet import ParquetObject
from embsnap.formats.vocabulary_arrays import BytesArray, IdArray, IntegerArray, MemoryLimit, id_array
from embsnap.formats.vocabulary_columns import id_type_of
from embsnap.formats.vocabulary_reading import safe_batch_rows
from embsnap.formats.vocabulary_writer import check_destination, write_columns
from embsnap.kernels.threads import run
from embsnap.model.vocabulary import BytesIds, Declared, Ids, IdType, Vocabulary
from embsnap.storage.uri import join_uri

__all__ = ["read_nvtabular", "write_nvtabular"]

_BATCH_ROWS = 1 << 16
_ARROW_IDS = {IdType.INT64: pa.int64(), IdType.UINT64: pa.uint64(), IdType.STRING: pa.string()}


def read_nvtabular(
    uri: str, column: str | None = None, *, options: Mapping[str, str] | None = None, threads: int = 1
) -> Vocabulary:
    """Read the categories of one column.

    Args:
        uri: Of its unique file, or of a directory that holds it.
        column: Which one; None for the only one there is.
        options: Of the store.
        threads: How many files are opened at a time.

    Returns:
        The entities, with their counts where the files have sizes; padding, null and OOV rows are declared.

    Raises:
        IncompatibleError: `bad-vocabulary`: ids are null or of an impossible type, or it cannot be told which rows
            they have; `id-type-mismatch`: parts differ.
        NotFoundError: No such files, or several.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    files = find_categories(uri, column, options)
    unique = run([partial(ParquetObject, files.store, location) for location in files.unique], threads)
    id_type, size = _check_columns(unique, files.column)
    num_records = sum(file.num_rows for file in unique)
    if not num_records:
        raise _bad(unique[0].uri, "the vocabulary is empty", "at least one entity", "no record")
    limit = MemoryLimit(uri, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    into = id_array(id_type, num_records, limit)
    nulls = _land_ids(unique, files.column, into)
    if nulls not in ([], [0]):
        raise _bad(unique[0].uri, f"column {files.column!r} holds nulls", "none, or one in front", len(nulls))
    found = rows_of(files, unique, leading_null=bool(nulls))
    if nulls and not found.leading_null:
        raise _bad(unique[0].uri, f"column {files.column!r} holds nulls", "none beside a meta file", len(nulls))
    counts_N = None if size is None else _counts(unique, size, num_records, limit)
    first = len(nulls)
    if first == num_records:
        raise _bad(unique[0].uri, "the vocabulary is empty", "at least one entity", "a null alone")
    return Vocabulary(
        uri,
        id_type,
        _from(into.ids(), first),
        found.rows_N[first:],
        None if counts_N is None else counts_N[first:],
        declared=found.declared,
    )


def write_nvtabular(
    vocabulary: Vocabulary, uri: str, column: str, *, options: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Write the categories of one column.

    Args:
        vocabulary: Entities in ascending order of their rows.
        uri: Of the directory.
        column: Its name.
        options: Of the store.

    Returns:
        The URIs of the meta and of the unique file, which is written last.

    Raises:
        IncompatibleError: `not-representable`: its rows leave no room for padding, null and OOV rows, or have gaps.
        RefusedError: `destination-taken`: there are such files.
        StorageError: The disk is full, or the storage failed.
    """
    first = _first_row(vocabulary)
    unique_uri, meta_uri = join_uri(uri, unique_name(column)), join_uri(uri, f"meta.{column}.parquet")
    for each in (unique_uri, meta_uri):
        check_destination(each, options)
    num_entities, id_type = len(vocabulary), vocabulary.id_type
    meta: dict[str, tuple[Any, Ids]] = {
        "kind": (pa.string(), _kinds()),
        "offset": (pa.int64(), np.array([0, NULL_OFFSET, OOV_OFFSET, first])),
        "num_indices": (pa.int64(), np.array([1, 1, first - OOV_OFFSET, num_entities])),
    }
    columns: dict[str, tuple[Any, Ids]] = {column: (_ARROW_IDS.get(id_type, pa.binary()), vocabulary.ids)}
    if vocabulary.counts_N is not None:
        columns[f"{column}_size"] = (pa.int64(), vocabulary.counts_N)
        meta["num_observed"] = (pa.int64(), _observed(vocabulary))
    write_columns(meta, meta_uri, metadata=_pandas(meta, 0, len(KINDS)), options=options)
    pandas = _pandas(columns, first, first + num_entities)
    return meta_uri, write_columns(columns, unique_uri, metadata=pandas, options=options)


def _check_columns(unique: Sequence[ParquetObject], column: str) -> tuple[IdType, str | None]:
    """The type of the ids, and the name of the column of sizes, the same in all parts."""
    id_type, size = id_type_of(unique[0], column), f"{column}_size"
    has_size = size in unique[0].names
    for file in unique:
        if (found := id_type_of(file, column)) is not id_type:
            problem, hint = "holds ids of another type than the first part", "fit the workflow again"
            raise IncompatibleError(
                ErrorKind.ID_TYPE_MISMATCH, problem, where=file.uri, expected=id_type, found=found, hint=hint
            )
        if (size in file.names) is not has_size or (has_size and not pa.types.is_integer(file.type_of(size))):
            raise _bad(file.uri, f"has no column {size!r} of integers", "one, as other parts", ", ".join(file.names))
    return id_type, size if has_size else None


def _land_ids(unique: Sequence[ParquetObject], column: str, into: IdArray) -> list[int]:
    """Land all ids; the places of nulls, of which the first few are enough."""
    start, nulls = 0, list[int]()
    for file in unique:
        for group in range(len(file.row_groups)):
            batch_rows = safe_batch_rows(file, group, column) if isinstance(into, BytesArray) else _BATCH_ROWS
            for (array,) in file.batches(group, (column,), batch_rows):
                if array.null_count and len(nulls) < 2:
                    nulls += [start + i for i, is_null in enumerate(array.is_null().to_pylist()) if is_null]
                into.land(start, array)
                start += len(array)
    return nulls


def _counts(unique: Sequence[ParquetObject], size: str, num_records: int, limit: MemoryLimit) -> NDArray[np.int64]:
    into, start = IntegerArray(num_records, np.int64, limit), 0
    for file in unique:
        for group in range(len(file.row_groups)):
            for (array,) in file.batches(group, (size,), _BATCH_ROWS):
                landed = into.land(start, array)
                if array.null_count or landed.min(initial=0) < 0:
                    raise _bad(file.uri, f"column {size!r} holds nulls or negative sizes", "0 or more", "others")
                start += len(array)
    return into.values_N


def _from(ids: Ids, first: int) -> Ids:
    return BytesIds(ids.offsets[first:], ids.data) if isinstance(ids, BytesIds) else ids[first:]


def _first_row(vocabulary: Vocabulary) -> int:
    """The row of the first entity, once it is known that the rows can be NVTabular's."""
    rows_N = vocabulary.rows_N
    first = int(rows_N[0])
    declared = vocabulary.declared or Declared()
    if first <= OOV_OFFSET:
        expected = "rows from 3 on, after one for padding, one for nulls and at least one for unknown ids"
        raise _not_representable(vocabulary, expected, f"an entity in row {first}")
    gaps = np.flatnonzero(np.diff(rows_N) != 1)
    if len(gaps):
        raise _not_representable(vocabulary, "rows without gaps", f"row {rows_N[gaps[0] + 1]} after {rows_N[gaps[0]]}")
    if declared.oov not in (None, (OOV_OFFSET, first)) or declared.reserved not in ((), ((0, OOV_OFFSET),)):
        expected = f"rows [0, 2) reserved and rows [2, {first}) for unknown ids"
        raise _not_representable(vocabulary, expected, f"reserved {declared.reserved}, for unknown ids {declared.oov}")
    return first


def _observed(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """How often each kind was seen: as read, if it was read from such files; else only the entities were."""
    assert vocabulary.counts_N is not None
    total = int(vocabulary.counts_N.sum())
    options = (vocabulary.declared or Declared()).provenance.get("options")
    known = options.get("num_observed") if isinstance(options, Mapping) else None
    if isinstance(known, list) and len(known) == len(KINDS) and known[-1] == total:
        return np.array([value if isinstance(value, int) else 0 for value in known])
    return np.array([0, 0, 0, total])


def _kinds() -> BytesIds:
    text = [kind.encode() for kind in KINDS]
    offsets = np.cumsum([0, *map(len, text)])
    return BytesIds(offsets, np.frombuffer(b"".join(text), np.uint8))


def _pandas(columns: Mapping[str, tuple[Any, Ids]], start: int, stop: int) -> dict[bytes, bytes]:
    """The metadata by which pandas and cudf restore a range as index."""
    described = {
        "index_columns": [{"kind": "range", "name": None, "start": start, "stop": stop, "step": 1}],
        "column_indexes": [],
        "columns": [
            {
                "name": name,
                "field_name": name,
                "pandas_type": _kind(found),
                "numpy_type": _dtype(found),
                "metadata": None,
            }
            for name, (found, _) in columns.items()
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    return {b"pandas": json.dumps(described).encode()}


def _kind(arrow_type: Any) -> str:
    return {pa.string(): "unicode", pa.binary(): "bytes"}.get(arrow_type, str(arrow_type))


def _dtype(arrow_type: Any) -> str:
    return str(arrow_type) if pa.types.is_integer(arrow_type) else "object"


def _bad(where: str, problem: str, expected: str, found: object) -> IncompatibleError:
    hint = "fit the workflow again, and convert the files that it writes"
    return IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=where, expected=expected, found=found, hint=hint)


def _not_representable(vocabulary: Vocabulary, expected: str, found: str) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.NOT_REPRESENTABLE,
        "its rows cannot be those of NVTabular's categories",
        where=vocabulary.uri,
        expected=expected,
        found=found,
        hint="build it with embsnap vocab build --reserved 2 --num-oov 1",
    )

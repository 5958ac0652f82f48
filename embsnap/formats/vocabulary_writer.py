"""Writing a vocabulary as parquet that reads fast: rows as deltas, ids plain, no dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embsnap.errors import ErrorKind, RefusedError
from embsnap.formats.arrow_sink import arrow_sink
from embsnap.formats.vocabulary_metadata import METADATA_KEY, encode_declared
from embsnap.kernels.hashing import fingerprint
from embsnap.model.vocabulary import NEVER_SEEN, BytesIds, Declared, Ids, IdType, Vocabulary
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["check_destination", "id_arrow_type", "time_type", "write_columns", "write_vocabulary"]

_ROWS_PER_GROUP = 1 << 20
_PART = "part-00000.parquet"
_PLAIN = {"id", "donor"}
_NULLABLE = {"last_seen", "old_row"}


def write_vocabulary(
    vocabulary: Vocabulary,
    uri: str,
    *,
    options: Mapping[str, str] | None = None,
    rows_per_group: int = _ROWS_PER_GROUP,
    threads: int = 1,
) -> str:
    """Write the columns `id`, `row`, and `count`, `donor` and `last_seen` where the vocabulary has them.

    The fingerprint goes into the file's metadata, with what the vocabulary declares.

    Args:
        vocabulary: Is read one row group at a time.
        uri: A file that ends in `.parquet` or `.pq`; otherwise a directory, which gets one file `part-00000.parquet`.
        options: Of the store.
        rows_per_group: Entities in a row group.
        threads: For the fingerprint.

    Returns:
        The URI of the file. It is visible only once it is whole.

    Raises:
        RefusedError: `destination-taken`: there is such a file, or something in the directory.
        ValueError: The columns differ in length.
        StorageError: The disk is full, or the storage failed.
    """
    columns = _columns(vocabulary)
    known = fingerprint(vocabulary.id_type, vocabulary.ids, vocabulary.rows_N, threads=threads)
    declared = replace(vocabulary.declared or Declared(), fingerprint=known)
    metadata = {METADATA_KEY: encode_declared(declared)}
    return write_columns(columns, uri, metadata=metadata, options=options, rows_per_group=rows_per_group)


def check_destination(uri: str, options: Mapping[str, str] | None = None) -> None:
    """Refuse a destination that is taken, before any work is done for it.

    Args:
        uri: A file that ends in `.parquet` or `.pq`; otherwise a directory, which must be empty.
        options: Of the store.

    Raises:
        RefusedError: `destination-taken`.
    """
    root, name = _place(uri)
    store = open_store(root, options)
    found = next(store.list(), None) if name == _PART else store.stat(name)
    if found is not None:
        raise RefusedError(
            ErrorKind.DESTINATION_TAKEN,
            "holds something already",
            where=uri,
            expected="a file that does not exist, or an empty directory",
            found=repr(found.location),
            hint="write to another destination; embsnap overwrites nothing",
        )


def write_columns(
    columns: Mapping[str, tuple[Any, Ids]],
    uri: str,
    *,
    metadata: Mapping[bytes, bytes] | None = None,
    options: Mapping[str, str] | None = None,
    rows_per_group: int = _ROWS_PER_GROUP,
) -> str:
    """Write columns of one length as parquet: numbers as deltas, ids and bytes plain.

    Args:
        columns: Arrow type and values by name. An int64 minimum in `last_seen` and `old_row` is written as null.
        uri: As in `write_vocabulary`.
        metadata: Key-value pairs for the footer.
        options: Of the store.
        rows_per_group: Records in a row group.

    Returns:
        The URI of the file.

    Raises:
        RefusedError: `destination-taken`.
        StorageError: The disk is full, or the storage failed.
    """
    check_destination(uri, options)
    root, name = _place(uri)
    fields = [pa.field(column, found, nullable=column in _NULLABLE) for column, (found, _) in columns.items()]
    schema = pa.schema(fields)
    plain = {column for column, (_, values) in columns.items() if column in _PLAIN or isinstance(values, BytesIds)}
    encodings = {column: "PLAIN" if column in plain else "DELTA_BINARY_PACKED" for column in columns}
    compression = {column: "zstd" if isinstance(ids, BytesIds) else "none" for column, (_, ids) in columns.items()}
    layout: dict[str, Any] = {"use_dictionary": False, "column_encoding": encodings, "compression": compression}
    num_rows = len(next(iter(columns.values()))[1])
    with open_store(root, options).writer(name) as writer:
        sink = arrow_sink(writer)
        with pq.ParquetWriter(sink, schema, store_schema=False, **layout) as parquet:
            for start in range(0, num_rows, rows_per_group):
                end = min(start + rows_per_group, num_rows)
                arrays = [_arrow(field, columns[field.name][1], start, end) for field in schema]
                parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=end - start)
            parquet.add_key_value_metadata(dict(metadata or {}))
    return join_uri(root, name)


def id_arrow_type(id_type: IdType) -> Any:
    """The Arrow type that ids are written in."""
    arrow_types = {IdType.INT64: pa.int64(), IdType.UINT64: pa.uint64(), IdType.STRING: pa.string()}
    return arrow_types.get(id_type, pa.binary())


def time_type(text: str) -> Any:
    """The Arrow type of `int64`, `timestamp[us]` or `timestamp[us, tz=UTC]`."""
    if text == "int64":
        return pa.int64()
    unit = text.removeprefix("timestamp[").rstrip("]").split(",")[0]
    return pa.timestamp(unit, tz="UTC" if "tz=" in text else None)


def _place(uri: str) -> tuple[str, str]:
    """Root and name of the file."""
    return split_uri(uri) if uri.endswith((".parquet", ".pq")) else (uri, _PART)


def _columns(vocabulary: Vocabulary) -> dict[str, tuple[Any, Ids]]:
    id_type = id_arrow_type(vocabulary.id_type)
    columns: dict[str, tuple[Any, Ids]] = {"id": (id_type, vocabulary.ids), "row": (pa.int64(), vocabulary.rows_N)}
    if vocabulary.counts_N is not None:
        columns["count"] = (pa.int64(), vocabulary.counts_N)
    if vocabulary.donors is not None:
        columns["donor"] = (id_type, vocabulary.donors)
    if vocabulary.last_seen_N is not None:
        columns["last_seen"] = (time_type(vocabulary.last_seen_type), vocabulary.last_seen_N)
    for name, (_, values) in columns.items():
        if len(values) != len(vocabulary):
            raise ValueError(f"column {name} has {len(values)} values, row has {len(vocabulary)}")
    return columns


def _arrow(field: Any, ids: Ids, start: int, end: int) -> Any:
    if not isinstance(ids, BytesIds):
        values = np.ascontiguousarray(ids[start:end])
        valid = None
        if field.nullable and (values == NEVER_SEEN).any():
            valid = pa.py_buffer(np.packbits(values != NEVER_SEEN, bitorder="little"))
        return pa.Array.from_buffers(field.type, end - start, [valid, pa.py_buffer(values)])
    offsets = ids.offsets[start : end + 1]
    data = ids.data[offsets[0] : offsets[-1]]
    buffers = [None, pa.py_buffer((offsets - offsets[0]).astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(field.type, end - start, buffers)

"""Writing a vocabulary as parquet that reads fast: rows as deltas, ids plain, no dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embsnap.model.vocabulary import BytesIds, Ids, IdType, Vocabulary
from embsnap.storage.base import Writer
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["write_vocabulary"]

_ROWS_PER_GROUP = 1 << 20


def write_vocabulary(
    vocabulary: Vocabulary,
    uri: str,
    *,
    options: Mapping[str, str] | None = None,
    rows_per_group: int = _ROWS_PER_GROUP,
) -> str:
    """Write the columns `id`, `row`, and `count` and `donor` where the vocabulary has them.

    Args:
        vocabulary: Is read one row group at a time.
        uri: A file that ends in `.parquet` or `.pq`; otherwise a directory, which gets one file `part-00000.parquet`.
        options: Of the store.
        rows_per_group: Entities in a row group.

    Returns:
        The URI of the file. It is visible only once it is whole.

    Raises:
        RefusedError: `destination-taken`: there is such a file.
        ValueError: The columns differ in length.
        StorageError: The disk is full, or the storage failed.
    """
    is_file = uri.endswith((".parquet", ".pq"))
    root, name = split_uri(uri) if is_file else (uri, "part-00000.parquet")
    columns = _columns(vocabulary)
    schema = pa.schema([pa.field(column, found, nullable=False) for column, (found, _) in columns.items()])
    encodings = {column: "PLAIN" if column in ("id", "donor") else "DELTA_BINARY_PACKED" for column in columns}
    compression = {column: "zstd" if isinstance(ids, BytesIds) else "none" for column, (_, ids) in columns.items()}
    layout: dict[str, Any] = {"use_dictionary": False, "column_encoding": encodings, "compression": compression}
    with open_store(root, options).writer(name) as writer:
        sink = pa.PythonFile(_Sink(writer), mode="w")
        with pq.ParquetWriter(sink, schema, store_schema=False, **layout) as parquet:
            for start in range(0, len(vocabulary), rows_per_group):
                end = min(start + rows_per_group, len(vocabulary))
                arrays = [_arrow(found, ids, start, end) for found, ids in columns.values()]
                parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=end - start)
    return join_uri(root, name)


def _columns(vocabulary: Vocabulary) -> dict[str, tuple[Any, Ids]]:
    arrow_ids = {IdType.INT64: pa.int64(), IdType.UINT64: pa.uint64(), IdType.STRING: pa.string()}
    id_type = arrow_ids.get(vocabulary.id_type, pa.binary())
    columns: dict[str, tuple[Any, Ids]] = {"id": (id_type, vocabulary.ids), "row": (pa.int64(), vocabulary.rows_N)}
    if vocabulary.counts_N is not None:
        columns["count"] = (pa.int64(), vocabulary.counts_N)
    if vocabulary.donors is not None:
        columns["donor"] = (id_type, vocabulary.donors)
    for name, (_, values) in columns.items():
        if len(values) != len(vocabulary):
            raise ValueError(f"column {name} has {len(values)} values, row has {len(vocabulary)}")
    return columns


def _arrow(arrow_type: Any, ids: Ids, start: int, end: int) -> Any:
    if not isinstance(ids, BytesIds):
        return pa.Array.from_buffers(
            arrow_type, end - start, [None, pa.py_buffer(np.ascontiguousarray(ids[start:end]))]
        )
    offsets = ids.offsets[start : end + 1]
    data = ids.data[offsets[0] : offsets[-1]]
    buffers = [None, pa.py_buffer((offsets - offsets[0]).astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(arrow_type, end - start, buffers)


class _Sink:
    """What pyarrow writes to: a store's writer, which is closed or aborted by whoever made it."""

    closed = False

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._writer.write(view)
        return len(view)

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Left to whoever made the writer."""

"""Pooled vectors as parquet: a column of fixed-size lists for each table, beside columns kept from the examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embsnap.formats.arrow_sink import arrow_sink
from embsnap.formats.vocabulary_writer import check_destination
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["PooledWriter", "check_pooled_destination", "pooled_writer"]

_PART = "part-00000.parquet"


class PooledWriter:
    """A parquet file that is being written, a row group for each batch."""

    def __init__(self, parquet: Any, schema: Any, uri: str) -> None:
        """For `pooled_writer`."""
        self.uri = uri
        self._parquet, self._schema = parquet, schema

    def write(self, kept: Sequence[Any], pooled: Sequence[NDArray[np.float32]]) -> None:
        """Append a batch: Arrow arrays of the kept columns, then `float32[B, D]` for each table."""
        lists = [
            pa.FixedSizeListArray.from_arrays(pa.array(vectors_BD.reshape(-1)), vectors_BD.shape[1])
            for vectors_BD in pooled
        ]
        plain = [array.cast(field.type) for array, field in zip(kept, self._schema, strict=False)]
        self._parquet.write_table(pa.Table.from_arrays([*plain, *lists], schema=self._schema))


def check_pooled_destination(uri: str, options: Mapping[str, str] | None = None) -> str:
    """Where the file would be written.

    Raises:
        RefusedError: `destination-taken`.
    """
    check_destination(uri, options)
    return join_uri(*_place(uri))


@contextmanager
def pooled_writer(
    uri: str, kept: Mapping[str, Any], dims: Mapping[str, int], options: Mapping[str, str] | None = None
) -> Iterator[PooledWriter]:
    """Write one file, all of it or nothing.

    Args:
        uri: A file that ends in `.parquet` or `.pq`; otherwise a directory, which gets one file.
        kept: Arrow types of kept columns, by name.
        dims: embedding_dim by table.
        options: Of the store.

    Raises:
        RefusedError: `destination-taken`.
        StorageError: The disk is full, or the storage failed.
    """
    root, name = _place(uri)
    fields = [pa.field(column, found) for column, found in kept.items()]
    fields += [pa.field(table, pa.list_(pa.float32(), dim), nullable=False) for table, dim in dims.items()]
    schema = pa.schema(fields)
    plain = [f"{table}.list.element" for table in dims]
    with (
        open_store(root, options).writer(name) as writer,
        pq.ParquetWriter(
            arrow_sink(writer),
            schema,
            use_dictionary=list(kept),
            compression={**dict.fromkeys(kept, "zstd"), **dict.fromkeys(plain, "none")},
        ) as parquet,
    ):
        yield PooledWriter(parquet, schema, join_uri(root, name))


def _place(uri: str) -> tuple[str, str]:
    return split_uri(uri) if uri.endswith((".parquet", ".pq")) else (uri, _PART)

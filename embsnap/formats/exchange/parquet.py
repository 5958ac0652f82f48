"""Tables as parquet: `id`, `row`, further columns, and `vector`. Such a file is a vocabulary too."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embsnap.formats.arrow_sink import arrow_sink
from embsnap.formats.exchange.arrow_columns import VECTOR, record_batches, schema_of
from embsnap.formats.exchange.columnar import read_columns
from embsnap.formats.exchange.content import Blocks, Entities, Place, TableCard, TableContent
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.parquet import ParquetObject
from embsnap.formats.vocabulary_files import find_parquet

__all__ = ["read_parquet", "write_parquet"]


def write_parquet(place: Place, entities: Entities, dim: int, dtype: str, card: TableCard, blocks: Blocks) -> None:
    """Write one row group for each block: numbers as deltas, ids and vectors plain, so that it reads fast."""
    schema = schema_of(entities, dim, dtype, card)
    deltas = [field.name for field in schema if field.type in (pa.int32(), pa.int64()) and field.name != "id"]
    encodings = {f"{VECTOR}.list.element": "PLAIN"} | dict.fromkeys(deltas, "DELTA_BINARY_PACKED")
    layout: dict[str, Any] = {"use_dictionary": False, "column_encoding": encodings, "compression": "none"}
    with place.store.writer(place.location) as writer:
        sink = arrow_sink(writer)
        with pq.ParquetWriter(sink, schema, **layout) as parquet:
            for batch in record_batches(entities, blocks, schema):
                parquet.write_table(pa.Table.from_batches([batch]), row_group_size=batch.num_rows)


def read_parquet(uri: str, options: ReadOptions) -> TableContent:
    """Open a file, a directory of them, or a glob.

    Raises:
        IncompatibleError: Its columns cannot be told, or ids or rows are null.
        NotFoundError, SnapshotError, StorageError: The files cannot be read.
    """
    found = find_parquet(uri, options.storage_options, problem="there are no vectors")
    return read_columns(uri, [ParquetObject(found.store, location) for location in found.locations], options)

"""Tables as Arrow IPC files, which pyarrow, polars and pandas map: `id`, `row`, further columns, and `vector`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from embsnap.errors import EmbsnapError
from embsnap.formats.arrow_sink import arrow_sink
from embsnap.formats.exchange.arrow_columns import record_batches, schema_of
from embsnap.formats.exchange.columnar import read_columns
from embsnap.formats.exchange.content import Blocks, Entities, Place, TableCard, TableContent, bad_file
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.parquet import values_of
from embsnap.storage.base import Store
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["read_arrow", "write_arrow"]


def write_arrow(place: Place, entities: Entities, dim: int, dtype: str, card: TableCard, blocks: Blocks) -> None:
    """Write one record batch for each block, not compressed."""
    schema = schema_of(entities, dim, dtype, card)
    with place.store.writer(place.location) as writer:
        sink = arrow_sink(writer)
        with pa.ipc.new_file(sink, schema) as file:
            for batch in record_batches(entities, blocks, schema):
                file.write_batch(batch)


def read_arrow(uri: str, options: ReadOptions) -> TableContent:
    """Open a file, which Feather's of version 2 are too.

    Raises:
        IncompatibleError: Its columns cannot be told, or ids or rows are null.
        SnapshotError: `bad-export`: it is none, or damaged.
        NotFoundError, StorageError: It cannot be read.
    """
    root, name = split_uri(uri)
    return read_columns(uri, [_ArrowObject(open_store(root, options.storage_options), name)], options)


class _ArrowObject:
    """An Arrow file whose footer has been read; a record batch is a group of rows."""

    def __init__(self, store: Store, location: str) -> None:
        self.uri = join_uri(store.uri, location)
        self._store, self._location = store, location
        with self._reading() as file:
            self._schema = file.schema
            self.row_groups = tuple(file.get_batch(group).num_rows for group in range(file.num_record_batches))
        self.names: tuple[str, ...] = tuple(self._schema.names)

    @property
    def pairs(self) -> dict[bytes, bytes]:
        return dict(self._schema.metadata or {})

    def type_of(self, name: str) -> Any:
        return values_of(self._schema.field(name).type)

    def batches(self, row_group: int, columns: Sequence[str], batch_rows: int) -> Iterator[list[Any]]:
        with self._reading() as file:
            batch = file.get_batch(row_group)
            arrays = [batch.column(name) for name in columns]
            for array in arrays:
                array.validate(full=True)
            plain = [array.dictionary_decode() if pa.types.is_dictionary(array.type) else array for array in arrays]
            for start in range(0, batch.num_rows, batch_rows):
                yield [array.slice(start, batch_rows) for array in plain]

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        mapped = self._store.map(self._location)
        source = pa.BufferReader(pa.py_buffer(mapped)) if mapped is not None else self._store.open(self._location)
        try:
            with source, pa.ipc.open_file(source) as file:
                yield file
        except EmbsnapError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError, IndexError, MemoryError) as error:
            found = " ".join(str(error).split())[:200]
            raise bad_file(self.uri, "is no Arrow file that can be read", "a whole Arrow IPC file", found) from error

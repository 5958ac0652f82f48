"""One parquet file in a store, opened by pyarrow on a file of ours.

Only `ParquetFile` is used, file by file: pyarrow's datasets abort the process at its exit when they read through a
file object of Python. Arrays are taken over by their buffers, since `to_numpy` imports pandas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError
from embsnap.formats.parquet_errors import bad_parquet, parquet_errors_at
from embsnap.storage.base import RangeRead, Store
from embsnap.storage.range_file import RangeFile
from embsnap.storage.uri import join_uri

__all__ = ["ColumnChunk", "ParquetObject", "bytes_of", "integers_of", "is_list", "times_of", "values_of"]

_LITTLE_BYTES = 64 << 10
"""Read at a time where the first values of a column are enough."""
_OFFSETS: dict[str, np.dtype[Any]] = {
    "string": np.dtype(np.int32),
    "binary": np.dtype(np.int32),
    "large_string": np.dtype(np.int64),
    "large_binary": np.dtype(np.int64),
}
"""Arrow types that are offsets and bytes, with the type of the offsets."""


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """One column of one row group, as the footer describes it."""

    num_bytes: int
    """As stored, compressed."""
    encodings: tuple[str, ...]
    compression: str
    bounds: tuple[Any, Any] | None
    """No value is less than the first or greater than the second: both int, or both bytes; None if not recorded."""


class ParquetObject:
    """A parquet file whose footer has been read; its columns are read by whoever asks, from any thread.

    Attributes:
        uri: Of the file.
        names: Its columns, in order; nested columns by the name of their root.
        row_groups: Number of rows of each row group.
    """

    def __init__(self, store: Store, location: str) -> None:
        """Open `location` of `store` and read the footer.

        Raises:
            NotFoundError: There is no such object.
            SnapshotError: `bad-parquet`: it is no parquet file, or a damaged one.
            StorageError: The storage failed.
        """
        self.uri = join_uri(store.uri, location)
        self._store, self._location = store, location
        self._mapped = store.map(location)
        self._size = _size(store, location) if self._mapped is None else len(self._mapped)
        self._metadata: Any = None
        with self._reading() as file:
            self._metadata = file.metadata
            self._schema = file.schema_arrow
            counts = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        if any(count < 0 for count in counts):
            raise bad_parquet(self.uri, f"its footer counts {min(counts)} rows in a row group")
        self.row_groups: tuple[int, ...] = tuple(counts)
        self.names: tuple[str, ...] = tuple(self._schema.names)

    @property
    def num_rows(self) -> int:
        """Of all row groups."""
        return sum(self.row_groups)

    def type_of(self, name: str) -> Any:
        """The Arrow type of a column, that of the values where it is dictionary-encoded or of an extension type."""
        return values_of(self._schema.field(name).type)

    @property
    def pairs(self) -> dict[bytes, bytes]:
        """The key-value metadata of the footer."""
        return dict(self._metadata.metadata or {})

    def chunk(self, row_group: int, name: str) -> ColumnChunk | None:
        """What the footer says of a flat column in a row group; None where the column is nested.

        Raises:
            SnapshotError: `bad-parquet`: the footer is damaged there.
        """
        with parquet_errors_at(self.uri):
            schema = self._metadata.schema
            leaves = [i for i in range(len(schema)) if schema.column(i).path == name]
            if not leaves:
                return None
            found = self._metadata.row_group(row_group).column(leaves[0])
            encodings = tuple(str(encoding) for encoding in found.encodings)
            return ColumnChunk(found.total_compressed_size, encodings, str(found.compression), _bounds(found))

    def batches(self, row_group: int, columns: Sequence[str], batch_rows: int) -> Iterator[list[Any]]:
        """Arrays of the named flat columns, in their order, for at most `batch_rows` rows at a time.

        Raises:
            SnapshotError: `bad-parquet`: the row group is damaged, or not as long as the footer says.
            StorageError: The storage failed.
        """
        num_rows = self.row_groups[row_group]
        with self._reading() as file:
            seen = 0
            for batch in file.iter_batches(batch_rows, [row_group], list(dict.fromkeys(columns)), use_threads=False):
                seen += batch.num_rows
                if seen > num_rows:
                    break
                yield [_checked(_storage(batch.column(name))) for name in columns]
        if seen != num_rows:
            found = "more" if seen > num_rows else seen
            raise bad_parquet(self.uri, f"row group {row_group} should hold {num_rows} rows and holds {found}")

    def longest_in_dictionary(self, row_group: int, column: str) -> int | None:
        """Bytes of the longest value in a string column's dictionary; None where that cannot be told in advance.

        A dictionary of one long value and a run of indices makes a huge column of a small file, so this is asked
        before anything is decoded. A column chunk without a dictionary answers with its first value's length.
        """
        try:
            with self._reading(is_whole=False, read_dictionary=[column]) as file:
                batches = file.iter_batches(1, [row_group], [column], use_threads=False)
                first = next(batches, None)
                if first is None:
                    return 0
                values = _storage(first.column(0))
                offsets, _ = bytes_of(values.dictionary if isinstance(values, pa.DictionaryArray) else values)
                return int(np.diff(offsets).max(initial=0))
        except SnapshotError:
            return None

    @contextmanager
    def _reading(self, *, is_whole: bool = True, **options: Any) -> Iterator[Any]:
        """The file for pyarrow; from afar, whole column chunks are read at once, or as little as is asked for."""
        if self._mapped is not None:
            source = pa.BufferReader(pa.py_buffer(self._mapped))
        elif is_whole:
            source, options = RangeFile(self._size, self._read_range), {"pre_buffer": True} | options
        else:
            source, options = RangeFile(self._size, self._read_range), {"buffer_size": _LITTLE_BYTES} | options
        with (
            parquet_errors_at(self.uri),
            closing(source),
            pq.ParquetFile(source, metadata=self._metadata, **({"pre_buffer": False} | options)) as file,
        ):
            yield file

    def _read_range(self, start: int, buffer: memoryview) -> None:
        self._store.read_ranges(self._location, [RangeRead(start, buffer)])


def _size(store: Store, location: str) -> int:
    info = store.stat(location)
    if info is None:
        where, hint = join_uri(store.uri, location), "check the path"
        raise NotFoundError(ErrorKind.NO_SUCH_OBJECT, "there is no such object", where=where, hint=hint)
    return info.size


def values_of(arrow_type: Any) -> Any:
    """An Arrow type without the extension types and dictionaries around it."""
    while isinstance(arrow_type, (pa.BaseExtensionType, pa.DictionaryType)):
        arrow_type = arrow_type.storage_type if isinstance(arrow_type, pa.BaseExtensionType) else arrow_type.value_type
    return arrow_type


def is_list(arrow_type: Any) -> bool:
    """Whether it is a type of lists, of variable or fixed length."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(arrow_type) for is_kind in kinds)


def integers_of(array: Any) -> NDArray[Any]:
    """The values of an integer array, not copied; those of nulls are arbitrary."""
    plain = array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array
    dtype = np.dtype(str(plain.type))
    if not len(plain):
        return np.empty(0, dtype)
    return np.frombuffer(plain.buffers()[1], dtype, len(plain), plain.offset * dtype.itemsize)


def times_of(array: Any) -> Any:
    """An array of integers, timestamps or dates as an integer array: of seconds for dates, else of its own unit."""
    plain = array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array
    if pa.types.is_date(plain.type):
        plain = plain.cast(pa.timestamp("s"))
    return plain if pa.types.is_integer(plain.type) else plain.view(pa.int64())


def bytes_of(array: Any) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Offsets (`int32` or `int64`, one more than values) and bytes of a string or binary array; nulls are empty."""
    plain = array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array
    if str(plain.type) not in _OFFSETS:
        plain = plain.cast(pa.large_binary())
    if not len(plain):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    dtype = _OFFSETS[str(plain.type)]
    offsets = np.frombuffer(plain.buffers()[1], dtype, len(plain) + 1, plain.offset * dtype.itemsize)
    data = plain.buffers()[2]
    return offsets, np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)


def _bounds(chunk: Any) -> tuple[Any, Any] | None:
    """Least and greatest value by the statistics. Strings by their bytes: they may be cut within a character."""
    found = chunk.statistics
    if found is None or not found.has_min_max:
        return None
    is_bytes = found.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
    bounds = (found.min_raw, found.max_raw) if is_bytes else (found.min, found.max)
    return bounds if all(isinstance(bound, bytes if is_bytes else int) for bound in bounds) else None


def _storage(array: Any) -> Any:
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _checked(array: Any) -> Any:
    """The array, once its bytes are known to be text, and its indices to be within its dictionary."""
    if not pa.types.is_integer(array.type):
        array.validate(full=True)
    return array

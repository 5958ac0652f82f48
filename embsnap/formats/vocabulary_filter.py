"""Which records of a vocabulary meet a condition, and what further columns hold for them.

Conditions are SQL expressions on the columns of the files, evaluated by an embedded DuckDB that sees nothing else.

Shape suffixes: N records, in the order of the files' names and of the rows in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, NotFoundError, UsageError
from embsnap.formats.parquet import ParquetObject
from embsnap.formats.vocabulary_files import find_parquet

__all__ = ["read_further_columns", "records_where"]

_BATCH_ROWS = 1 << 17
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "enable_external_access": False,
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "lock_configuration": True,
}
_WINDOW = re.compile(r"\bover\b\s*[(\w]", re.IGNORECASE)


def records_where(uri: str, condition: str, *, options: Mapping[str, str] | None = None) -> NDArray[np.bool_]:
    """`bool[N]`: whether each record meets the condition; those of which it is not known do not.

    Args:
        uri: A parquet file, a directory of them, or a glob.
        condition: Such as `count >= 10 and country in ('de', 'at')`. It looks at one record at a time.
        options: Of the store.

    Raises:
        UsageError: `bad-option`: it is no such expression, or names a column that is not there.
        NotFoundError, SnapshotError, StorageError: The files cannot be read.
    """
    parts = []
    with duckdb.connect(config=_SETTINGS) as connection:
        for file in _files(uri, options):
            names = [name for name in file.names if name.lower() in condition.lower()] or list(file.names[:1])
            schema = pa.schema([(name, file.type_of(name)) for name in names])
            with _errors(condition, file):
                if _WINDOW.search(condition) or len(_met(connection, schema.empty_table(), condition)):
                    raise duckdb.BinderException("it looks at more than one record at a time")
            for arrays in _batches(file, names):
                records = pa.table([_plain(array) for array in arrays], names=names)
                with _errors(condition, file):
                    parts.append(_met(connection, records, condition))
    return np.concatenate(parts) if parts else np.empty(0, np.bool_)


def read_further_columns(
    uri: str, names: Sequence[str], kept_N: NDArray[np.bool_] | None, *, options: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Arrow arrays of some columns, by name.

    Args:
        uri: As for `records_where`.
        names: Of the columns.
        kept_N: Which records to take; None for all.
        options: Of the store.

    Raises:
        NotFoundError: `no-such-column`: a file does not have one.
        SnapshotError, StorageError: The files cannot be read.
    """
    parts: dict[str, list[Any]] = {name: [] for name in names}
    start = 0
    for file in _files(uri, options):
        for name in names:
            if file.names.count(name) != 1:
                raise _no_such_column(file, name)
        for arrays in _batches(file, names):
            end = start + len(arrays[0])
            for name, array in zip(names, arrays, strict=True):
                plain = _plain(array)
                parts[name].append(plain if kept_N is None else plain.filter(pa.array(kept_N[start:end])))
            start = end
    return {name: pa.concat_arrays(arrays) for name, arrays in parts.items() if arrays}


def _files(uri: str, options: Mapping[str, str] | None) -> Iterator[ParquetObject]:
    found = find_parquet(uri, options)
    return (ParquetObject(found.store, location) for location in found.locations)


def _batches(file: ParquetObject, names: Sequence[str]) -> Iterator[list[Any]]:
    for group in range(len(file.row_groups)):
        yield from file.batches(group, names, _BATCH_ROWS)


def _met(connection: duckdb.DuckDBPyConnection, records: Any, condition: str) -> NDArray[np.bool_]:
    expression = duckdb.SQLExpression(condition).cast("BOOLEAN")
    relation = connection.from_arrow(records)
    found = relation.select(expression.cast("TINYINT").alias("met")).to_arrow_table().column(0)
    if records.num_rows and len(found) != records.num_rows:
        raise duckdb.BinderException("it looks at more than one record at a time")
    met = found.combine_chunks().fill_null(0)
    return np.frombuffer(met.buffers()[1], np.int8, len(met), met.offset).astype(np.bool_) if len(met) else _NONE


_NONE = np.empty(0, np.bool_)


def _plain(array: Any) -> Any:
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


@contextmanager
def _errors(condition: str, file: ParquetObject) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "is no condition on a vocabulary",
            where=f"--where {condition!r}",
            expected=f"an SQL expression on the columns {', '.join(file.names)} of {file.uri}",
            found=" ".join(str(error).split())[:200],
            hint='such as --where "count >= 10"; put texts in single quotes',
        ) from None


def _no_such_column(file: ParquetObject, name: str) -> NotFoundError:
    return NotFoundError(
        ErrorKind.NO_SUCH_COLUMN,
        "there is no such column, or several",
        where=f"{file.uri}, column {name}",
        expected=f"one of {', '.join(file.names)}",
        hint="name it with --column as the vocabulary does",
    )

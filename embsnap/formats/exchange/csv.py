"""Tables as comma-separated text: `id`, `row`, further columns, and a column for each dimension: `v0`, `v1`, …

Ids that are text are quoted, numbers are not. Numbers have the fewest digits that give them back.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from embsnap.errors import EmbsnapError, ErrorKind, IncompatibleError
from embsnap.formats.arrow_sink import arrow_sink
from embsnap.formats.exchange.content import (
    Blocks,
    Entities,
    Place,
    TableCard,
    TableContent,
    bad_file,
    checked_rows,
)
from embsnap.formats.exchange.elements import ARROW_TYPES, stored_dtype
from embsnap.formats.exchange.ids import ids_of_text, not_representable, told_type
from embsnap.formats.exchange.numbers import arrow_values, check_not_lost
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.exchange.vectors import SpooledVectors
from embsnap.formats.parquet import integers_of
from embsnap.formats.vocabulary_columns import find_column
from embsnap.model.exchange import ExchangeFormat
from embsnap.model.vocabulary import IdType
from embsnap.storage.base import Store
from embsnap.storage.uri import open_store, split_uri

__all__ = ["check_csv_ids", "read_csv_table", "write_csv_table"]

_LINES = 1 << 12
_BLOCK_BYTES = 8 << 20
_ROLES = {"id": pa.large_string(), "row": pa.int64(), "count": pa.int64()}


def check_csv_ids(entities: Entities, where: str) -> None:
    """Refuse binary ids, and further columns of values that are no text, such as lists.

    Raises:
        IncompatibleError: `not-representable`.
    """
    if entities.id_type is IdType.BINARY:
        raise not_representable(where, "csv", "has no binary ids", "binary ids")
    for name, array in entities.columns.items():
        try:
            arrow_csv.write_csv(pa.table({name: array.slice(0, 0)}), pa.BufferOutputStream())
            if not pa.types.is_nested(array.type) and "binary" in str(array.type):
                array.cast(pa.large_string())
        except pa.ArrowException:
            raise IncompatibleError(
                ErrorKind.NOT_REPRESENTABLE,
                f"csv has no place for the values of column {name!r}",
                where=where,
                expected="numbers, text, times or dates",
                found=array.type,
                hint="leave it out, or choose another format, such as parquet",
            ) from None


def write_csv_table(place: Place, entities: Entities, dim: int, dtype: str, card: TableCard, blocks: Blocks) -> None:
    """Write a header and a line for each row."""
    start = 0
    with place.store.writer(place.location) as writer:
        names = [*entities.arrays(0, 0), *(f"v{column}" for column in range(dim))]
        writer.write((",".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in names) + "\n").encode())
        sink = arrow_sink(writer)
        options = arrow_csv.WriteOptions(include_header=False, batch_size=_LINES)
        for block_ND in blocks:
            for first in range(0, len(block_ND), _LINES):
                rows_ND = block_ND[first : first + _LINES]
                beside = entities.arrays(start, start + len(rows_ND)).values()
                columns = [*beside, *(arrow_values(column_N) for column_N in rows_ND.T)]
                arrow_csv.write_csv(pa.table(columns, names=names), sink, options)
                start += len(rows_ND)


def read_csv_table(uri: str, options: ReadOptions) -> TableContent:
    """Read a file: ids and rows now, numbers when they are prepared. Numbers are float32 unless the card says else.

    Raises:
        SnapshotError: `bad-export`: its columns cannot be told, or a field is no number.
        IncompatibleError: `bad-vocabulary`: ids are not of the type they are to be; `cast-overflow`: a number is too
            large for float32, said when numbers are prepared.
        NotFoundError, StorageError: It cannot be read; temporary files have no room.
    """
    root, location = split_uri(uri)
    store = open_store(root, options.storage_options)
    names, is_quoted = _header(store, location, uri)
    dim = sum(name.startswith("v") and name[1:].isdigit() for name in names)
    if not dim or [f"v{column}" for column in range(dim)] != names[-dim:]:
        raise bad_file(uri, "has no columns of numbers at its end", "v0, v1, …", ",".join(names)[:80])
    dtype = "float32" if options.card is None else stored_dtype(options.card.dtype, ExchangeFormat.CSV)
    roles = _roles(uri, tuple(names[:-dim]), options.columns)
    columns: dict[str, list[Any]] = {role: [] for role in roles}
    types, num_rows = {name: _ROLES[role] for role, name in roles.items()}, 0
    for batch in _batches(store, location, uri, types or {"v0": pa.float32()}):
        num_rows += batch.num_rows
        for role, name in roles.items():
            columns[role].append(batch.column(name))
    vectors = {f"v{column}": ARROW_TYPES[dtype] for column in range(dim)}
    rows = SpooledVectors((num_rows, dim), dtype, lambda: _vectors(store, location, uri, vectors, dtype))
    id_type, ids = (None, None)
    if "id" in columns:
        texts = [array.cast(pa.large_binary()) for array in columns["id"]]
        is_text = is_quoted and roles["id"] == names[0]
        told = options.id_type or (IdType.STRING if is_text else told_type(columns["id"]))
        id_type, ids = ids_of_text(uri, texts, told, first_place=2)
    rows_N = checked_rows(uri, _integers(columns["row"])) if "row" in columns else None
    counts_N = _integers(columns["count"]) if "count" in columns else None
    return TableContent(rows, dtype, ids, id_type, rows_N, counts_N)


@dataclass(slots=True)
class _Columns:
    """Those before the numbers."""

    uri: str
    names: tuple[str, ...]

    def type_of(self, name: str) -> Any:
        """Text, as any column."""
        return pa.large_string()


def _roles(uri: str, names: tuple[str, ...], given: Mapping[str, str]) -> dict[str, str]:
    """Columns of ids, rows and counts, by role: those given, else those that `export` writes, or of usual names."""
    roles = {}
    for role in _ROLES:
        name = given.get(role) or (role if role in names else find_column(_Columns(uri, names), role))
        if name is not None and name not in names:
            raise bad_file(uri, f"has no column {name!r}", f"one of {', '.join(names) or 'none'}")
        if name is not None:
            roles[role] = name
    return roles


def _header(store: Store, location: str, uri: str) -> tuple[list[str], bool]:
    """Names of the columns, and whether the first field of the second line is quoted."""
    with store.open(location) as file:
        start = file.read(_BLOCK_BYTES)
    first, _, second = start.removeprefix(BOM_UTF8).partition(b"\n")
    try:
        names = next(csv.reader([first.decode().rstrip("\r")]), [])
    except (UnicodeDecodeError, csv.Error):
        names = []
    if not names or len(set(names)) != len(names):
        raise bad_file(uri, "has no header that names its columns", "id, row, v0, v1, …", repr(first[:60]))
    return names, second.startswith(b'"')


def _vectors(store: Store, location: str, uri: str, types: Mapping[str, Any], dtype: str) -> Iterator[NDArray[Any]]:
    itemsize, infinite = np.dtype(dtype).itemsize, set()
    for batch in _batches(store, location, uri, types):
        rows_ND = np.empty((batch.num_rows, len(types)), dtype)
        for column, array in enumerate(batch.columns):
            if array.null_count:
                raise bad_file(uri, f"lacks a number in column v{column}", "a number in every field")
            if len(array):
                rows_ND[:, column] = np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * itemsize)
        if dtype == "float32":
            infinite |= {f"v{column}" for column in np.flatnonzero(np.isinf(rows_ND).any(axis=0))}
        yield rows_ND
    for batch in _batches(store, location, uri, dict.fromkeys(infinite, pa.float64())) if infinite else ():
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            wide_N = array.to_numpy()
            with np.errstate(over="ignore"):
                check_not_lost(wide_N.astype(np.float32), wide_N, f"{uri}, column {name}")


def _integers(arrays: list[Any]) -> NDArray[Any]:
    found: NDArray[Any] = np.concatenate([integers_of(array) for array in arrays]) if arrays else np.empty(0, np.int64)
    return found


def _batches(store: Store, location: str, uri: str, types: Mapping[str, Any]) -> Iterator[Any]:
    convert = arrow_csv.ConvertOptions(
        column_types=dict(types), include_columns=list(types), null_values=[], strings_can_be_null=False
    )
    read = arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    parse = arrow_csv.ParseOptions(newlines_in_values=True)
    with (
        _errors_at(uri),
        store.open(location) as file,
        arrow_csv.open_csv(file, read_options=read, parse_options=parse, convert_options=convert) as reader,
    ):
        yield from reader


@contextmanager
def _errors_at(uri: str) -> Iterator[None]:
    try:
        yield
    except EmbsnapError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        found = " ".join(str(error).split())[:200]
        raise bad_file(uri, "cannot be read", "an id, a row and numbers in every line", found) from None

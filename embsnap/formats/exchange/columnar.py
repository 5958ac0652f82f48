"""Reading tables from columns: ids, rows and counts at once, vectors when they are asked for.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.exchange.arrow_columns import VECTOR, find_vector, vector_type, vectors_of
from embsnap.formats.exchange.content import CARD_KEY, TableCard, TableContent, checked_rows
from embsnap.formats.exchange.ids import ids_of_arrays
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.exchange.vectors import SpooledVectors
from embsnap.formats.parquet import integers_of
from embsnap.formats.vocabulary_columns import HasColumns, find_column, id_type_of

__all__ = ["ColumnFile", "read_columns"]

_BATCH_BYTES = 8 << 20
_BATCH_IDS = 1 << 16


class ColumnFile(HasColumns, Protocol):
    """A file of columns in groups of rows."""

    row_groups: tuple[int, ...]
    """Rows of each."""

    @property
    def pairs(self) -> dict[bytes, bytes]:
        """Its metadata."""

    def batches(self, row_group: int, columns: Sequence[str], batch_rows: int) -> Iterator[list[Any]]:
        """Arrow arrays of the columns, for at most `batch_rows` rows at a time."""


def read_columns(uri: str, files: Sequence[ColumnFile], options: ReadOptions) -> TableContent:
    """The table in some files, in their order.

    Raises:
        IncompatibleError: No column, or several, may hold the vectors or ids; ids or rows are null.
        SnapshotError, StorageError: The files cannot be read.
    """
    first = files[0]
    card = TableCard.decode(first.pairs.get(CARD_KEY.encode()))
    given = options.vector_column or (None if card is None or VECTOR not in first.names else VECTOR)
    vector = find_vector(first.uri, {name: first.type_of(name) for name in first.names}, given)
    dtype, dim = vector_type(first.uri, first.type_of(vector))
    dim = dim or _first_length(files, vector)
    own = () if card is None else first.names  # `export` calls columns as their roles
    names = {
        role: find_column(first, role, options.columns.get(role) or (role if role in own else None))
        for role in ("id", "row", "count")
    }
    columns = {role: list(_column(files, name)) for role, name in names.items() if name is not None}
    id_type = None if names["id"] is None else id_type_of(first, names["id"])
    num_rows = sum(sum(file.row_groups) for file in files)
    return TableContent(
        SpooledVectors((num_rows, dim), dtype, lambda: _vectors(files, vector, dim, dtype)),
        dtype,
        None if id_type is None else ids_of_arrays(uri, columns["id"], id_type),
        id_type,
        checked_rows(uri, _integers(uri, columns["row"])) if "row" in columns else None,
        _integers(uri, columns["count"]).astype(np.int64) if "count" in columns else None,
        card,
    )


def _column(files: Sequence[ColumnFile], name: str) -> Iterator[Any]:
    for file in files:
        _check_there(file, name)
        for group in range(len(file.row_groups)):
            for (array,) in file.batches(group, (name,), _BATCH_IDS):
                if array.null_count:
                    raise _bad(file.uri, f"column {name!r} has nulls", "a value in every row")
                yield array


def _integers(uri: str, arrays: list[Any]) -> NDArray[Any]:
    if any(not str(array.type).startswith(("int", "uint")) for array in arrays):
        raise _bad(uri, f"rows or counts are of type {arrays[0].type}", "an integer type")
    found: NDArray[Any] = np.concatenate([integers_of(array) for array in arrays]) if arrays else np.empty(0, np.int64)
    return found


def _vectors(files: Sequence[ColumnFile], name: str, dim: int, dtype: str) -> Iterator[NDArray[Any]]:
    batch_rows = max(1, _BATCH_BYTES // max(1, dim * np.dtype(dtype).itemsize))
    for file in files:
        _check_there(file, name)
        if (found := vector_type(file.uri, file.type_of(name))[0]) != dtype:
            raise _bad(file.uri, f"column {name!r} holds {found}", f"{dtype}, as in the first file")
        for group in range(len(file.row_groups)):
            for arrays in file.batches(group, (name,), batch_rows):
                yield from vectors_of(file.uri, arrays, dim, dtype)


def _first_length(files: Sequence[ColumnFile], name: str) -> int:
    for file in files:
        for group in range(len(file.row_groups)):
            for (array,) in file.batches(group, (name,), 1):
                return len(array.flatten())
    raise _bad(files[0].uri, "holds no entity", "one at least")


def _check_there(file: ColumnFile, name: str) -> None:
    if file.names.count(name) != 1:
        raise _bad(file.uri, f"does not have one column {name!r}", "the same columns in every file")


def _bad(where: str, problem: str, expected: str) -> IncompatibleError:
    return IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=where, expected=expected)

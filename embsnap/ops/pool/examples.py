"""Examples from parquet, batch by batch: for each feature the entity ids of each bag, and their weights.

Shape suffixes: B bags of a batch, N ids in hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError
from embsnap.formats.parquet import ParquetObject, is_list, values_of
from embsnap.formats.vocabulary_files import find_parquet

__all__ = ["Bags", "Batch", "ExampleColumns", "Examples", "check_examples", "open_examples"]


@dataclass(frozen=True, slots=True)
class ExampleColumns:
    """Which columns are read."""

    features: Mapping[str, str]
    """Column of entity ids by table: lists of them, or one id each."""
    weights: Mapping[str, str]
    """Column of weights by table, one for each id; for tables that have some."""
    kept: tuple[str, ...] = ()
    """Columns that are handed through."""
    discrete: str | None = None
    """A column of lists of integers, one for each discrete feature; None if there are no strata."""


@dataclass(frozen=True, slots=True, eq=False)
class Bags:
    """One feature of a batch."""

    ids: Any
    """Arrow array of N entity ids."""
    where: str
    """File and column, for messages."""
    lengths_B: NDArray[np.int64]
    weights_N: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Examples in the order of the files."""

    num_examples: int
    features: Mapping[str, Bags]
    """By table."""
    kept: tuple[Any, ...]
    """Arrow arrays."""
    discrete: Any
    """Arrow array of lists of integers, or None."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Files of examples that have the columns asked for."""

    uri: str
    files: tuple[ParquetObject, ...]
    columns: ExampleColumns

    @property
    def num_examples(self) -> int:
        """Of all files."""
        return sum(file.num_rows for file in self.files)

    @property
    def kept_types(self) -> dict[str, Any]:
        """Arrow types of the kept columns."""
        return {name: self.files[0].type_of(name) for name in self.columns.kept}

    def batches(self, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """Batches of at most `batch_size` examples, none of them across row groups; the first `limit` in all.

        Raises:
            IncompatibleError: `shape-mismatch`: an example has not one weight for each id; `cast-overflow`: a weight is
                too large for float32.
            SnapshotError, StorageError: A file cannot be read.
        """
        left = self.num_examples if limit is None else limit
        names = _names(self.columns)
        for file in self.files:
            for group in range(len(file.row_groups)):
                if left <= 0:
                    return
                for arrays in file.batches(group, names, batch_size):
                    found = dict(zip(names, (array[: max(left, 0)] for array in arrays), strict=True))
                    num_examples = min(len(arrays[0]), max(left, 0))
                    left -= num_examples
                    if num_examples:
                        yield self._batch(found, num_examples, file.uri)

    def _batch(self, arrays: Mapping[str, Any], num_examples: int, where: str) -> Batch:
        columns = self.columns
        features = {}
        for table, column in columns.features.items():
            weights = columns.weights.get(table)
            features[table] = _bags(
                arrays[column], None if weights is None else (weights, arrays[weights]), column, where
            )
        discrete = None if columns.discrete is None else arrays[columns.discrete]
        return Batch(num_examples, features, tuple(arrays[name] for name in columns.kept), discrete)


def open_examples(uri: str, options: Mapping[str, str]) -> tuple[ParquetObject, ...]:
    """The files of examples, with their footers read.

    Raises:
        NotFoundError: `no-such-object`: there is no parquet file.
        SnapshotError, StorageError: One cannot be read.
    """
    found = find_parquet(uri, options, problem="there are no examples")
    return tuple(ParquetObject(found.store, location) for location in found.locations)


def check_examples(uri: str, files: tuple[ParquetObject, ...], columns: ExampleColumns) -> Examples:
    """The examples, once every file is known to have every column, and each of the types that it needs.

    Raises:
        NotFoundError: `no-such-object`: a file lacks a column.
        IncompatibleError: `dtype-mismatch`: a column is of another type in another file, or of one that does not fit.
    """
    lists = [] if columns.discrete is None else [columns.discrete]
    for file in files:
        for name in _names(columns):
            if name not in file.names:
                raise _no_column(file, name, columns)
            if not _is_same(file.type_of(name), files[0].type_of(name), exactly=name in columns.kept):
                raise _misfit(file, name, str(files[0].type_of(name)))
        for name in lists:
            if not is_list(file.type_of(name)) or not pa.types.is_integer(file.type_of(name).value_type):
                raise _misfit(file, name, "lists of integers")
        for name in columns.weights.values():
            if not _is_number(_element_of(file.type_of(name))):
                raise _misfit(file, name, "numbers, or lists of them")
    return Examples(uri, files, columns)


def _no_column(file: ParquetObject, name: str, columns: ExampleColumns) -> NotFoundError:
    option = "--feature TABLE=COLUMN names the column of a table's ids"
    if name not in columns.features.values():
        option = "check the names that --weights, --keep and --discrete-column give"
    return NotFoundError(
        ErrorKind.NO_SUCH_OBJECT,
        "the examples have no such column",
        where=file.uri,
        expected=name,
        found=", ".join(file.names[:20]),
        hint=option,
    )


def _misfit(file: ParquetObject, name: str, expected: str) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.DTYPE_MISMATCH,
        "a column of the examples is of another type",
        where=f"{file.uri}, column {name}",
        expected=expected,
        found=str(file.type_of(name)),
    )


def _is_same(a: Any, b: Any, *, exactly: bool) -> bool:
    """Whether columns of both types are read alike; `exactly` minds what a writer calls the elements of its lists."""
    if is_list(a) and is_list(b) and not exactly:
        a, b = _element_of(a), _element_of(b)
    return str(a) == str(b)


def _element_of(arrow_type: Any) -> Any:
    return values_of(arrow_type.value_type) if is_list(arrow_type) else arrow_type


def _is_number(arrow_type: Any) -> bool:
    """Whether its values can weigh; of the type null are columns that hold no weight at all."""
    types = pa.types
    kinds = (types.is_floating, types.is_integer, types.is_decimal, types.is_boolean, types.is_null)
    return any(is_kind(arrow_type) for is_kind in kinds)


def _names(columns: ExampleColumns) -> tuple[str, ...]:
    discrete = () if columns.discrete is None else (columns.discrete,)
    return tuple(dict.fromkeys((*columns.features.values(), *columns.weights.values(), *columns.kept, *discrete)))


def _bags(ids: Any, weights: tuple[str, Any] | None, column: str, where: str) -> Bags:
    values, lengths_B = _flattened(ids)
    place = f"{where}, column {column}"
    if weights is None:
        return Bags(values, place, lengths_B, None)
    name, array = weights
    weight_values, weight_lengths_B = _flattened(array)
    if not np.array_equal(lengths_B, weight_lengths_B):
        example = int(np.flatnonzero(lengths_B != weight_lengths_B)[0])
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "an example has not one weight for each id",
            where=place,
            expected=f"{lengths_B[example]} weights",
            found=f"{weight_lengths_B[example]}",
        )
    return Bags(values, place, lengths_B, _weights(weight_values, f"{where}, column {name}"))


def _weights(values: Any, where: str) -> NDArray[np.float32]:
    wide_N = np.asarray(pc.cast(values, pa.float64(), safe=False).fill_null(0.0))
    with np.errstate(over="ignore"):
        weights_N: NDArray[np.float32] = wide_N.astype(np.float32)
    lost_N = np.isinf(weights_N) & np.isfinite(wide_N)
    if lost_N.any():
        raise IncompatibleError(
            ErrorKind.CAST_OVERFLOW,
            "a weight is too large for float32",
            where=where,
            expected=f"weights within ±{np.finfo(np.float32).max:.6g}",
            found=f"{wide_N[lost_N][0]:.6g}",
        )
    return weights_N


def _flattened(array: Any) -> tuple[Any, NDArray[np.int64]]:
    """Values without nulls around them, and how many of them each example has; a null is an empty bag."""
    if is_list(values_of(array.type)):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        return array.flatten(), np.asarray(lengths).astype(np.int64)
    return array.drop_null(), np.asarray(pc.is_valid(array)).astype(np.int64)

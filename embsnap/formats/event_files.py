"""Which files hold the events, and of what type their columns are: checked before any record is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.parquet import ParquetObject, is_list, values_of
from embsnap.formats.vocabulary_columns import id_type_of, time_type_of
from embsnap.formats.vocabulary_files import find_parquet
from embsnap.kernels.threads import run
from embsnap.model.vocabulary import IdType
from embsnap.storage.local import LocalStore

__all__ = ["EventColumns", "EventFiles", "find_events"]

_SQL_TYPES = {
    IdType.INT64: "BIGINT",
    IdType.UINT64: "UBIGINT",
    IdType.STRING: "VARCHAR",
    IdType.BINARY: "BLOB",
}


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Names of the columns to read."""

    ids: tuple[str, ...]
    """Of ids, or of lists of ids; counted together."""
    count: str | None = None
    """How often the record's ids were seen; each record once by default."""
    time: str | None = None
    """When: an integer, timestamp or date, whose largest is kept for each id."""


@dataclass(frozen=True, slots=True)
class EventFiles:
    """Files of events that fit together."""

    objects: tuple[ParquetObject, ...]
    num_records: int
    id_type: IdType
    are_lists: tuple[bool, ...]
    """Whether each id column holds lists."""
    has_times: bool
    time_type: str
    """Of the times as counted: `int64`, or a timestamp in nanoseconds or microseconds."""
    by_name: bool
    """Whether columns are of different types in different files, and so need one that holds all."""
    are_local: bool
    """Whether all are files of this machine."""

    @property
    def paths(self) -> tuple[str, ...]:
        """URIs of the files; absolute paths of local ones."""
        return tuple(file.uri for file in self.objects)

    @property
    def sql_type(self) -> str:
        """Of the ids."""
        return _SQL_TYPES[self.id_type]


def find_events(
    uris: Sequence[str],
    columns: EventColumns,
    stratum: str | None,
    *,
    options: Mapping[str, str] | None = None,
    threads: int = 1,
) -> EventFiles:
    """Look up the files, and prove that each has the columns in the same types.

    Args:
        uris: Files, directories or globs.
        columns: Which have to be there.
        stratum: A column of lists of integers that has to be there too.
        options: Of the stores.
        threads: How many footers are read at a time.

    Raises:
        UsageError: `bad-uri`; `bad-option`: no column is named, or a column or a file is named twice.
        NotFoundError: `no-such-object`.
        IncompatibleError: `bad-vocabulary` or `id-type-mismatch`.
        SnapshotError: `bad-parquet`.
    """
    if not uris:
        raise UsageError(ErrorKind.BAD_OPTION, "names no files", where="EVENTS")
    if not columns.ids:
        raise UsageError(ErrorKind.BAD_OPTION, "names no column of ids", where="--id-column")
    for name, number in Counter(columns.ids).items():
        if number > 1:
            problem = "names a column twice, so that its ids would count twice"
            raise UsageError(ErrorKind.BAD_OPTION, problem, where="--id-column", found=name)
    found = [find_parquet(uri, options, problem="there are no events") for uri in uris]
    places = [(files.store, location) for files in found for location in files.locations]
    objects = run([partial(ParquetObject, *place) for place in places], threads)
    twice = [uri for uri, number in Counter(file.uri for file in objects).items() if number > 1]
    if twice:
        problem = "is named twice, so that its records would count twice"
        raise UsageError(ErrorKind.BAD_OPTION, problem, where=twice[0], found=", ".join(uris))
    for file in objects:
        _check_columns(file, columns, stratum, objects[0])
    first = objects[0]
    names = [name for name in (*columns.ids, columns.count, columns.time, stratum) if name is not None]
    return EventFiles(
        objects=tuple(objects),
        num_records=sum(file.num_rows for file in objects),
        id_type=id_type_of(first, columns.ids[0], lists=True),
        are_lists=tuple(is_list(first.type_of(name)) for name in columns.ids),
        has_times=columns.time is not None,
        time_type="int64" if columns.time is None else _counted(time_type_of(first, columns.time)),
        by_name=any(file.type_of(name) != first.type_of(name) for file in objects for name in names),
        are_local=all(isinstance(store, LocalStore) for store, _ in places),
    )


def _check_columns(file: ParquetObject, columns: EventColumns, stratum: str | None, first: ParquetObject) -> None:
    lower = [name.lower() for name in file.names]
    for name in (*columns.ids, columns.count, columns.time, stratum):
        if name is not None and lower.count(name.lower()) > 1:
            raise _bad(file, name, "one column of that name, in upper or lower case")
    expected = id_type_of(first, columns.ids[0], lists=True)
    for name in columns.ids:
        found = id_type_of(file, name, lists=True)
        if found is not expected:
            raise IncompatibleError(
                ErrorKind.ID_TYPE_MISMATCH,
                f"column {name!r} holds ids of another type than the rest",
                where=file.uri,
                expected=f"{expected}, as column {columns.ids[0]!r} of {first.uri}",
                found=f"{found} ({file.type_of(name)})",
                hint="count ids of different types for different vocabularies",
            )
        if is_list(file.type_of(name)) != is_list(first.type_of(name)):
            raise _bad(file, name, f"{first.type_of(name)}, as in {first.uri}")
    if columns.count is not None and not _is_integer(file, columns.count):
        raise _bad(file, columns.count, "integers")
    if columns.time is not None and time_type_of(file, columns.time) != time_type_of(first, columns.time):
        raise _bad(file, columns.time, f"{first.type_of(columns.time)}, as in {first.uri}")
    if stratum is not None and not _is_list_of_integers(file, stratum):
        raise _bad(file, stratum, "lists of integers")


def _is_integer(file: ParquetObject, name: str) -> bool:
    return file.names.count(name) == 1 and id_type_of(file, name) in (IdType.INT64, IdType.UINT64)


def _is_list_of_integers(file: ParquetObject, name: str) -> bool:
    if file.names.count(name) != 1 or not is_list(file.type_of(name)):
        return False
    return bool(pa.types.is_integer(values_of(file.type_of(name).value_type)))


def _bad(file: ParquetObject, name: str, expected: str) -> IncompatibleError:
    found = f"type {file.type_of(name)}" if file.names.count(name) == 1 else f"columns {', '.join(file.names)}"
    return IncompatibleError(
        ErrorKind.BAD_VOCABULARY, f"column {name!r} does not fit", where=file.uri, expected=expected, found=found
    )


def _counted(time_type: str) -> str:
    """DuckDB hands times out in nanoseconds where the files have them, else in microseconds."""
    if time_type == "int64":
        return time_type
    unit = "ns" if time_type.startswith("timestamp[ns") else "us"
    return f"timestamp[{unit}, tz=UTC]" if "tz=" in time_type else f"timestamp[{unit}]"

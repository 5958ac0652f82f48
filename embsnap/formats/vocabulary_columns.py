"""Which columns of a vocabulary's parquet files hold the entity ids, the rows and the counts, and of what type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.parquet import ParquetObject, is_list, values_of
from embsnap.model.vocabulary import IdType

__all__ = [
    "HasColumns",
    "Layout",
    "VocabularyColumns",
    "agree_on_layout",
    "check_lacked",
    "find_column",
    "id_type_of",
    "is_id_column",
    "time_type_of",
]

_CANDIDATES = {
    "id": ("id", "entity_id", "entity", "key", "raw_id", "value"),
    "row": ("row", "row_index", "row_id", "index", "idx", "table_index", "embedding_index"),
    "count": ("count", "counts", "freq", "frequency", "num_observed"),
    "last_seen": ("last_seen", "last_seen_at", "last_seen_time", "last_timestamp"),
}
_HINT = "name the columns with vocab_columns: {id: …, row: …, count: …}"


class HasColumns(Protocol):
    """A file with columns of known names and Arrow types."""

    uri: str
    names: tuple[str, ...]

    def type_of(self, name: str) -> Any:
        """The Arrow type of a column."""


@dataclass(frozen=True, slots=True)
class VocabularyColumns:
    """Names of columns; None where they are to be found by their usual names."""

    id: str | None = None
    """Entity ids; found as `id`, `entity_id`, `entity`, `key`, `raw_id` or `value`."""
    row: str | None = None
    """Rows; found as `row`, `row_index`, `row_id`, `index`, `idx`, `table_index` or `embedding_index`."""
    count: str | None = None
    """How often each entity was seen; found as `count`, `counts`, `freq`, `frequency` or `num_observed`."""
    last_seen: str | None = None
    """When; found as `last_seen`, `last_seen_at`, `last_seen_time` or `last_timestamp`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns to read, the same in all files of a vocabulary."""

    id: str
    row: str
    count: str | None
    donor: str | None
    id_type: IdType
    last_seen: str | None = None
    last_seen_type: str = "int64"


def agree_on_layout(files: Sequence[ParquetObject], columns: VocabularyColumns, donor: str | None) -> Layout:
    """Find the columns in the first file, and prove that every other file has them in the same types.

    Raises:
        IncompatibleError: `bad-vocabulary`: a column is missing, ambiguous or of a type that cannot be; or
            `id-type-mismatch`: two files hold ids of different types, or donors are of another type than ids.
    """
    first = files[0]
    id_name, row_name = _required(first, "id", columns.id), _required(first, "row", columns.row)
    count_name = find_column(first, "count", columns.count)
    seen_name = find_column(first, "last_seen", columns.last_seen)
    seen_type = "int64" if seen_name is None else time_type_of(first, seen_name)
    layout = Layout(id_name, row_name, count_name, donor, id_type_of(first, id_name), seen_name, seen_type)
    for file in files:
        _check_file(file, layout, first)
        for role, name in (("count", count_name), ("last_seen", seen_name)):
            check_lacked(file, role, name, first)
    return layout


def check_lacked(file: ParquetObject, role: str, name: str | None, first: ParquetObject) -> None:
    """Refuse a file with a column of a role that the first file lacks, so that it would be passed over.

    Args:
        file: Any of several that belong together.
        role: `count` or `last_seen`.
        name: Of that column in the first file; None if it has none.
        first: The first file.

    Raises:
        IncompatibleError: `bad-vocabulary`.
    """
    if name is None and (found := find_column(file, role)) is not None:
        raise _bad_columns(file, f"has a column {found!r}, which {first.uri} lacks", "one in every file, or in none")


def _check_file(file: ParquetObject, layout: Layout, first: ParquetObject) -> None:
    for name in (layout.id, layout.row, layout.count, layout.donor, layout.last_seen):
        if name is not None and file.names.count(name) != 1:
            problem = "has no column" if name not in file.names else "has more than one column"
            raise _bad_columns(file, f"{problem} {name!r}", "one, as in every file of the vocabulary")
    for name in (layout.row, layout.count):
        if name is not None and not pa.types.is_integer(file.type_of(name)):
            raise _bad_columns(file, f"column {name!r} is of type {file.type_of(name)}", "an integer type")
    if layout.last_seen is not None and (found := time_type_of(file, layout.last_seen)) != layout.last_seen_type:
        raise _bad_columns(file, f"column {layout.last_seen!r} is of type {found}", layout.last_seen_type)
    _check_id_type(file, layout.id, layout.id_type, f"{layout.id_type}, as in {first.uri}")
    if layout.donor is not None:
        _check_id_type(file, layout.donor, layout.id_type, f"{layout.id_type}, as the ids in column {layout.id!r}")


def _check_id_type(file: ParquetObject, name: str, id_type: IdType, expected: str) -> None:
    found = id_type_of(file, name)
    if found is not id_type:
        raise IncompatibleError(
            ErrorKind.ID_TYPE_MISMATCH,
            f"column {name!r} holds ids of another type than the rest of the vocabulary",
            where=file.uri,
            expected=expected,
            found=f"{found} ({file.type_of(name)})",
            hint="write all ids of a vocabulary in one type",
        )


def _required(file: ParquetObject, role: str, given: str | None) -> str:
    name = find_column(file, role, given)
    if name is None:
        usual = ", ".join(_CANDIDATES[role])
        raise _bad_columns(file, f"no column looks like the {role} column", f"a column named one of {usual}")
    return name


def find_column(file: HasColumns, role: str, given: str | None = None) -> str | None:
    """The column of a role (`id`, `row`, `count`, `last_seen`): the one given, else the one with a usual name, if any.

    Raises:
        IncompatibleError: `bad-vocabulary`: several columns have usual names.
    """
    if given is not None:
        return given
    found = [name for name in file.names if name.lower() in _CANDIDATES[role]]
    if len(found) > 1:
        names = ", ".join(repr(name) for name in found)
        raise _bad_columns(file, f"{names} all look like the {role} column", "one of them")
    return found[0] if found else None


def id_type_of(file: HasColumns, name: str, *, lists: bool = False) -> IdType:
    """Type of the ids in a column; with `lists` also of those in a column of lists.

    Raises:
        IncompatibleError: `bad-vocabulary`: there is no such column, or it cannot hold ids.
    """
    hint = "name columns of ids with --id-column" if lists else _HINT
    if file.names.count(name) != 1:
        problem = "has no column" if name not in file.names else "has more than one column"
        raise _bad_columns(file, f"{problem} {name!r}", "one", hint)
    found: Any = file.type_of(name)
    if lists and is_list(found):
        found = values_of(found.value_type)
    if pa.types.is_integer(found):
        return IdType.UINT64 if pa.types.is_uint64(found) else IdType.INT64
    if pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found):
        return IdType.STRING
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    if any(check(found) for check in binary):
        return IdType.BINARY
    raise _bad_columns(file, f"column {name!r} is of type {found}", "ids of an integer, string or binary type", hint)


def is_id_column(file: HasColumns, name: str, id_type: IdType) -> bool:
    """Whether a column that is there holds ids of a type."""
    try:
        return id_type_of(file, name) is id_type
    except IncompatibleError:
        return False


def time_type_of(file: ParquetObject, name: str) -> str:
    """`int64` for integers, else an Arrow timestamp: `timestamp[s]` for dates.

    Raises:
        IncompatibleError: `bad-vocabulary`: there is no such column, or it cannot hold times.
    """
    if file.names.count(name) != 1:
        raise _bad_columns(file, f"does not have one column {name!r}", "one")
    found: Any = file.type_of(name)
    if pa.types.is_integer(found):
        return "int64"
    if pa.types.is_timestamp(found):
        return f"timestamp[{found.unit}]" if found.tz is None else f"timestamp[{found.unit}, tz=UTC]"
    if pa.types.is_date(found):
        return "timestamp[s]"
    raise _bad_columns(file, f"column {name!r} is of type {found}", "times: integers, timestamps or dates")


def _bad_columns(file: HasColumns, problem: str, expected: str, hint: str = _HINT) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.BAD_VOCABULARY,
        problem,
        where=file.uri,
        expected=expected,
        found=f"columns {', '.join(file.names)}" if file.names else "no columns",
        hint=hint,
    )

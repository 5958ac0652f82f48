"""The SQL that counts ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embsnap.formats.event_files import EventColumns, EventFiles

__all__ = ["Stratum", "count_query", "read_parquet"]


@dataclass(frozen=True, slots=True)
class Stratum:
    """Only the records whose list in `column` has `value` at `index`, counted from 0."""

    column: str
    index: int
    value: int


def read_parquet(files: EventFiles) -> str:
    """What the engine reads local files with."""
    names = ", ".join(_text(_escaped(path)) for path in files.paths)
    return f"read_parquet([{names}], hive_partitioning = false, union_by_name = {str(files.by_name).lower()})"


def count_query(
    sources: Sequence[Sequence[str]],
    files: EventFiles,
    columns: EventColumns,
    stratum: Stratum | None,
    *,
    order_ids: bool,
) -> str:
    """Groups of all id columns: id, n, seen; the largest n first, and where `order_ids` is set those of one n by id.

    Each column is read from sources of its own.
    """
    where = "" if stratum is None else f" WHERE {_name(stratum.column)}[{stratum.index + 1}] = {stratum.value}"
    others = "" if columns.count is None else f", {_name(columns.count)}::HUGEINT AS n"
    others += "" if columns.time is None else f", {_epoch(_name(columns.time), files.time_type)} AS seen"
    selects = [
        f"SELECT {_id(_name(name), is_list)}::{files.sql_type} AS id{others} FROM {source}{where}"
        for name, is_list, parts in zip(columns.ids, files.are_lists, sources, strict=True)
        for source in parts
    ]
    count = "count(*)" if columns.count is None else "CASE WHEN min(n) < 0 THEN -1 ELSE sum(n) END::BIGINT"
    seen = "" if columns.time is None else ", max(seen) AS seen"
    order = "n DESC, id NULLS LAST" if order_ids else "n DESC"
    return f"SELECT id, {count} AS n{seen} FROM ({' UNION ALL '.join(selects)}) GROUP BY id ORDER BY {order}"


def _id(name: str, is_list: bool) -> str:
    return f"unnest({name})" if is_list else name


def _epoch(name: str, time_type: str) -> str:
    if time_type == "int64":
        return f"{name}::BIGINT"
    return f"epoch_ns({name})" if time_type.startswith("timestamp[ns") else f"epoch_us({name})"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _escaped(path: str) -> str:
    """A path in which DuckDB sees no glob."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)

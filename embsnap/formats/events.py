"""Counting entity ids in parquet event logs: a group-by in an embedded DuckDB, which spills where memory ends.

The one module that imports DuckDB. It reads the files that are named, no other, loads no extension and asks no network.

Shape suffixes: N distinct ids.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import duckdb
import numpy as np

from embsnap.errors import ErrorKind, SnapshotError, StorageError, UsageError
from embsnap.formats.counted_ids import CountedIds, Cut, collect
from embsnap.formats.event_files import EventColumns, EventFiles, find_events
from embsnap.model.progress import SILENT, Progress

__all__ = ["CountedIds", "Cut", "Engine", "EventColumns", "Stratum", "count_ids"]

_BATCH_ROWS = 1 << 17
_MIN_MEMORY_BYTES = 64 << 20
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What DuckDB may use."""

    memory_bytes: int = 1 << 30
    """For its tables and buffers; what is beyond spills."""
    threads: int = 1
    spill_directory: str | None = None
    """An existing local directory for what spills; by default a temporary one. It is left empty."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Only the records whose list in `column` has `value` at `index`, counted from 0."""

    column: str
    index: int
    value: int


def count_ids(
    uris: Sequence[str],
    columns: EventColumns,
    *,
    cut: Cut | None = None,
    stratum: Stratum | None = None,
    engine: Engine | None = None,
    progress: Progress = SILENT,
) -> CountedIds:
    """Count how often each id stands in the id columns of parquet files.

    Args:
        uris: Local files, directories or globs, as for vocabularies.
        columns: One or several columns of ids, or of lists of ids; their ids are counted together. With a column of
            counts its sums are taken instead of the number of records.
        cut: Which of the ids to return; all by default.
        stratum: Which of the records to count; all by default.
        engine: Memory, threads, and where to spill.
        progress: Is told the records done.

    Returns:
        The ids, the most frequent first, those of one count by id, ascending (strings by their UTF-8 bytes); each once,
        whatever the order of files and records. Nulls are counted, and are no ids.

    Raises:
        UsageError: `bad-uri`: not local. `bad-option`: no column is named, a file is named twice, or too little memory.
        NotFoundError: `no-such-object`: no parquet file is there.
        IncompatibleError: `bad-vocabulary`: a column is missing, or cannot hold ids, counts or times.
            `id-type-mismatch`: columns or files hold ids of different types.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: `disk-full`: what spills does not fit. `storage-failed`: the storage failed.
    """
    engine = engine or Engine()
    _check(engine)
    files = find_events(uris, columns, None if stratum is None else stratum.column, threads=engine.threads)
    query = _query(files, columns, stratum)
    place = engine.spill_directory
    if place is not None and not os.path.isdir(place):
        raise UsageError(ErrorKind.BAD_OPTION, "is no directory", where="--temp-directory", found=place)
    spill = tempfile.TemporaryDirectory(prefix="embsnap-") if place is None else nullcontext(place)
    task = f"count ids of {uris[0]}"
    with (
        spill as directory,
        _errors(uris),
        _connect(engine, directory) as connection,
        _told(connection, task, files.num_records, progress),
    ):
        reader = connection.sql(query).to_arrow_reader(_BATCH_ROWS)
        return collect(reader, files, cut or Cut())


def _check(engine: Engine) -> None:
    if engine.memory_bytes < _MIN_MEMORY_BYTES:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "is too small to count ids",
            where="--memory-budget",
            expected=f"at least {_MIN_MEMORY_BYTES} bytes",
            found=engine.memory_bytes,
        )


def _connect(engine: Engine, directory: str) -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": engine.threads,
        "memory_limit": f"{engine.memory_bytes}B",
        "temp_directory": directory,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "python_enable_replacements": False,
        "lock_configuration": True,
    }
    return duckdb.connect(config=settings)


def _query(files: EventFiles, columns: EventColumns, stratum: Stratum | None) -> str:
    """Groups of all id columns: id, n, seen."""
    names = ", ".join(_text(_escaped(path)) for path in files.paths)
    source = f"read_parquet([{names}], hive_partitioning = false, union_by_name = {str(files.by_name).lower()})"
    where = "" if stratum is None else f" WHERE {_name(stratum.column)}[{stratum.index + 1}] = {stratum.value}"
    others = "" if columns.count is None else f", {_name(columns.count)}::HUGEINT AS n"
    others += "" if columns.time is None else f", {_epoch(_name(columns.time), files.time_type)} AS seen"
    selects = [
        f"SELECT {_id(_name(name), is_list)}::{files.sql_type} AS id{others} FROM {source}{where}"
        for name, is_list in zip(columns.ids, files.are_lists, strict=True)
    ]
    count = "count(*)" if columns.count is None else "CASE WHEN min(n) < 0 THEN -1 ELSE sum(n) END::BIGINT"
    seen = "" if columns.time is None else ", max(seen) AS seen"
    return (
        f"SELECT id, {count} AS n{seen} FROM ({' UNION ALL '.join(selects)}) GROUP BY id ORDER BY n DESC, id NULLS LAST"
    )


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


@contextmanager
def _told(connection: duckdb.DuckDBPyConnection, task: str, total: int, progress: Progress) -> Iterator[None]:
    """Tell how far the connection's query is, from a thread that asks it now and then."""
    done, over = 0, threading.Event()

    def poll() -> None:
        nonlocal done
        while not over.wait(_POLL_S):
            reached = int(np.clip(connection.query_progress(), 0, 100) / 100 * total)
            if reached > done:
                progress.advance(task, reached - done)
                done = reached

    progress.start(task, total, "records")
    thread = threading.Thread(target=poll, name="embsnap-progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        progress.advance(task, total - done)
        progress.finish(task)


@contextmanager
def _errors(uris: Sequence[str]) -> Iterator[None]:
    """Turn DuckDB's errors into ours."""
    where = ", ".join(uris)
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        text = _line(error)
        full = "directory" in text or "disk" in text
        raise StorageError(
            ErrorKind.DISK_FULL if full else ErrorKind.STORAGE_FAILED,
            "counting needs more than there is: " + ("what spills does not fit" if full else "memory ends"),
            where=where,
            found=text,
            hint="give it a larger --memory-budget, fewer --threads, or a --temp-directory with more room",
        ) from error
    except duckdb.IOException as error:
        full = "space left" in str(error) or "too large" in str(error)
        raise StorageError(
            ErrorKind.DISK_FULL if full else ErrorKind.STORAGE_FAILED,
            "counting failed over its files",
            where=where,
            found=_line(error),
            hint="give it a --temp-directory with more room" if full else None,
        ) from error
    except duckdb.Error as error:
        kind = "its records cannot be counted"
        raise SnapshotError(
            ErrorKind.BAD_PARQUET, kind, where=where, expected="whole parquet files", found=_line(error)
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]

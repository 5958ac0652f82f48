"""Counting entity ids in parquet event logs: a group-by in an embedded DuckDB, which spills where memory ends.

The one module that imports DuckDB. It reads the local files that are named, no other, loads no extension and asks no
network; the records of files elsewhere are handed to it.

Shape suffixes: N distinct ids.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import duckdb
import numpy as np

from embsnap.errors import ErrorKind, IncompatibleError, SnapshotError, StorageError, UsageError
from embsnap.formats.counted_ids import CountedIds, Cut, collect, sort_ids
from embsnap.formats.event_files import EventColumns, EventFiles, find_events
from embsnap.formats.event_query import Stratum, count_query, read_parquet
from embsnap.formats.event_streams import streams_of
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocabulary import IdType

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


def count_ids(
    uris: Sequence[str],
    columns: EventColumns,
    *,
    cut: Cut | None = None,
    stratum: Stratum | None = None,
    engine: Engine | None = None,
    options: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> CountedIds:
    """Count how often each id stands in the id columns of parquet files.

    Args:
        uris: Files, directories or globs, as for vocabularies.
        columns: One or several columns of ids, or of lists of ids; their ids are counted together. With a column of
            counts its sums are taken instead of the number of records.
        cut: Which of the ids to return; all by default.
        stratum: Which of the records to count; all by default.
        engine: Memory, threads, and where to spill.
        options: Of the stores.
        progress: Is told the records done.

    Returns:
        The ids, the most frequent first, those of one count by id, ascending (strings by their UTF-8 bytes); each once,
        whatever the order of files and records. Nulls are counted, and are no ids.

    Raises:
        UsageError: `bad-uri`. `bad-option`: no column is named, a column or a file is named twice, or too
            little memory.
        NotFoundError: `no-such-object`: no parquet file is there.
        IncompatibleError: `bad-vocabulary`: a column is missing, or cannot hold ids, counts or times, or a value is out
            of range.
            `id-type-mismatch`: columns or files hold ids of different types.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: `disk-full`: what spills does not fit. `storage-failed`: the storage failed.
    """
    engine = engine or Engine()
    _check(engine)
    name = None if stratum is None else stratum.column
    files = find_events(uris, columns, name, options=options, threads=engine.threads)
    place = engine.spill_directory
    if place is not None and not os.path.isdir(place):
        raise UsageError(ErrorKind.BAD_OPTION, "is no directory", where="--temp-directory", found=place)
    spill = tempfile.TemporaryDirectory(prefix="embsnap-") if place is None else nullcontext(place)
    task = f"count ids of {uris[0]}"
    with spill as directory, _errors(uris), _connect(engine, directory) as connection, ExitStack() as stack:
        if files.are_local:
            sources = [[read_parquet(files)]] * len(columns.ids)
            stack.enter_context(_told(connection, task, files.num_records, progress))
        else:
            progress.start(task, files.num_records * len(columns.ids), "records")
            sources = _register(connection, files, columns, stratum, task, progress, stack)
            stack.callback(progress.finish, task)
        cut = cut or Cut()
        # Integers alone are sorted faster when they are here, unless it matters which of them come first.
        order_ids = not (
            files.id_type in (IdType.INT64, IdType.UINT64) and columns.time is None and cut.max_size is None
        )
        query = count_query(sources, files, columns, stratum, order_ids=order_ids)
        counted = collect(connection.sql(query).to_arrow_reader(_BATCH_ROWS), files, cut)
    if not order_ids:
        sort_ids(counted, threads=engine.threads)
    return counted


def _register(
    connection: duckdb.DuckDBPyConnection,
    files: EventFiles,
    columns: EventColumns,
    stratum: Stratum | None,
    task: str,
    progress: Progress,
    stack: ExitStack,
) -> list[list[str]]:
    """Names by which the connection knows streams of the files, for each id column; a stream can be read once."""
    others = [columns.count, columns.time, None if stratum is None else stratum.column]
    sources: list[list[str]] = []
    for number, name in enumerate(columns.ids):
        needed = [name, *(other for other in others if other is not None)]
        sources.append([])
        for part, stream in enumerate(streams_of(files.objects, needed)):
            connection.register(f"events_{number}_{part}", stack.enter_context(stream.reader(task, progress)))
            sources[-1].append(f"events_{number}_{part}")
    return sources


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
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            "a value in a column of ids, counts or times cannot be counted",
            where=where,
            expected="counts whose sums, and times that, fit in 64 bits",
            found=_line(error),
            hint="cast the column, or leave out such records",
        ) from error
    except duckdb.Error as error:
        kind = "its records cannot be counted"
        raise SnapshotError(
            ErrorKind.BAD_PARQUET, kind, where=where, expected="whole parquet files", found=_line(error)
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]

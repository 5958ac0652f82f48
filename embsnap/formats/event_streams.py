"""Event files that the counting engine cannot open itself, as streams of Arrow record batches.

The engine counts the same records in any order, so row groups are read several at a time and batches passed on as they
come.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

import pyarrow as pa

from embsnap.errors import EmbsnapError
from embsnap.formats.parquet import ParquetObject, is_list, values_of
from embsnap.model.progress import Progress

__all__ = ["EventStream", "streams_of"]

_BATCH_ROWS = 1 << 16
_READERS = 4
_WAITING_BATCHES = 8
"""Batches that were read and not taken yet."""
_PATIENCE_S = 0.1


@dataclass(frozen=True, slots=True)
class EventStream:
    """Some columns of files in which they are of the same types."""

    files: tuple[ParquetObject, ...]
    columns: tuple[str, ...]

    @contextmanager
    def reader(self, task: str, progress: Progress) -> Iterator[Any]:
        """A `pyarrow.RecordBatchReader` of all records, in no particular order; `progress` is told of them.

        Raises:
            SnapshotError, StorageError: As `ParquetObject.batches`, at the end of the block: before that the stream
                just ends.
        """
        schema = pa.schema([(name, _plain_type(self.files[0].type_of(name))) for name in self.columns])
        groups = [(file, group) for file in self.files for group in range(len(file.row_groups))]
        with _Readers(groups, schema) as readers:
            try:
                yield pa.RecordBatchReader.from_batches(schema, _told(readers.batches(), task, progress))
            finally:
                readers.check()


def streams_of(files: Sequence[ParquetObject], columns: Sequence[str]) -> list[EventStream]:
    """The files, those together whose columns are of the same types."""
    names = tuple(dict.fromkeys(columns))
    by_types: dict[tuple[str, ...], list[ParquetObject]] = {}
    for file in files:
        by_types.setdefault(tuple(str(file.type_of(name)) for name in names), []).append(file)
    return [EventStream(tuple(group), names) for group in by_types.values()]


class _Readers:
    """Threads that read row groups, and the batches that wait to be taken."""

    def __init__(self, groups: Iterable[tuple[ParquetObject, int]], schema: Any) -> None:
        self.failure: BaseException | None = None
        self._groups, self._schema = iter(groups), schema
        self._lock = threading.Lock()
        self._waiting: Queue[Any] = Queue(_WAITING_BATCHES)
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="embsnap-events")

    def __enter__(self) -> _Readers:
        self._running = [self._pool.submit(self._read) for _ in range(_READERS)]
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=True)

    def batches(self) -> Iterator[Any]:
        """Record batches until all row groups are read, or a thread failed; `check` then says how."""
        while True:
            is_over = all(reader.done() for reader in self._running)
            try:
                yield self._waiting.get(timeout=0 if is_over else _PATIENCE_S)
            except Empty:
                if is_over:
                    return

    def check(self) -> None:
        """Raise what ended a thread, and forget it: its traceback holds on to the engine."""
        failure, self.failure = self.failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure

    def _read(self) -> None:
        try:
            while (found := self._next()) is not None:
                file, group = found
                for arrays in file.batches(group, self._schema.names, _BATCH_ROWS):
                    plain = [_plain(array, field.type) for array, field in zip(arrays, self._schema, strict=True)]
                    self._put(pa.RecordBatch.from_arrays(plain, schema=self._schema))
        except EmbsnapError as error:
            self.failure = error.with_traceback(
                None
            )  # pyarrow keeps the error, and so would it all its frames refer to
            self._stopped.set()
        except BaseException as error:
            self.failure = error
            self._stopped.set()

    def _next(self) -> tuple[ParquetObject, int] | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._groups, None)

    def _put(self, batch: Any) -> None:
        while not self._stopped.is_set():
            try:
                self._waiting.put(batch, timeout=_PATIENCE_S)
                return
            except Full:
                continue


def _told(batches: Iterator[Any], task: str, progress: Progress) -> Iterator[Any]:
    for batch in batches:
        progress.advance(task, batch.num_rows)
        yield batch


def _plain_type(arrow_type: Any) -> Any:
    """The type that the engine is given: lists of variable length, values without extension types."""
    if is_list(arrow_type):
        return pa.list_(values_of(arrow_type.value_type))
    return arrow_type


def _plain(array: Any, arrow_type: Any) -> Any:
    if isinstance(array.type, pa.DictionaryType):
        array = array.dictionary_decode()
    return array if array.type == arrow_type else array.cast(arrow_type)

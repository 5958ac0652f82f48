"""The history of statistics: a directory of parquet files, one for each snapshot, which parquet readers take as one.

A file is named `<step>-<12 digits of the metadata's SHA-256>-<16 digits of the options>.parquet`, and is created whole
or not at all. So a history is appended to without rewriting it, from several machines, on any object store. It has one
row for each table, statistic and part, as `docs/statistics.md` describes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from embsnap.errors import ErrorKind, RefusedError, SnapshotError
from embsnap.model.statistics import Statistic, statistics_of
from embsnap.model.table_stats import Interval, SnapshotStats
from embsnap.storage.base import Store
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["HistoryPart", "StatsHistory"]

_NAME = re.compile(r"(?P<step>[0-9]{18}|none)-(?P<metadata>[0-9a-f]{12})-(?P<options>[0-9a-f]{16})\.parquet")
_MAX_PART_BYTES = 256 << 20
_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("metadata_sha256", pa.string(), nullable=False),
        pa.field("step", pa.int64()),
        pa.field("walltime", pa.float64()),
        pa.field("table", pa.string(), nullable=False),
        pa.field("statistic", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """The statistics of one snapshot, as its file's name tells."""

    location: str
    step: int | None
    metadata: str
    """The first 12 digits of the SHA-256 of its metadata."""
    options: str
    """Digest of what was computed, and how."""


class StatsHistory:
    """A history under a URI, which need not exist yet.

    Attributes:
        uri: The directory.
        parts: What it holds, by step.
    """

    def __init__(self, uri: str, options: Mapping[str, str] | None = None) -> None:
        """List what is there.

        Raises:
            RefusedError: `destination-taken`: something else is there.
            StorageError: The storage failed.
        """
        self.uri = uri
        self._store: Store = open_store(uri, options)
        root, name = split_uri(uri)
        if open_store(root, options).stat(name) is not None:
            raise _taken(uri, "a file")
        self.parts = tuple(_part(info.location, uri) for info in self._store.list())

    def find(self, step: int | None, metadata_sha256: str, options: str) -> HistoryPart | None:
        """The statistics of a snapshot computed with these options, if the history has them."""
        name = _name(step, metadata_sha256, options)
        return next((part for part in self.parts if part.location == name), None)

    def append(self, stats: SnapshotStats, options: str) -> str:
        """Add the statistics of a snapshot, unless they are there already.

        Returns:
            The URI of their file.

        Raises:
            StorageError: The disk is full, or the storage failed.
        """
        location = _name(stats.step, stats.metadata_sha256, options)
        if self._store.stat(location) is None:
            sink = pa.BufferOutputStream()
            pq.write_table(_table(stats), sink, compression="zstd")
            with suppress(RefusedError):  # another run was faster; the same numbers are there
                self._store.create(location, sink.getvalue().to_pybytes())
        return join_uri(self.uri, location)

    def read(self, part: HistoryPart) -> list[Statistic]:
        """The statistics in one file.

        Raises:
            SnapshotError: `bad-parquet`: it is damaged, or no such file.
            StorageError: The storage failed.
        """
        data = self._store.read(part.location, limit=_MAX_PART_BYTES)
        try:
            columns = pq.ParquetFile(pa.BufferReader(data)).read().select(_SCHEMA.names).to_pydict()
        except (pa.ArrowException, OSError, KeyError) as error:
            raise SnapshotError(
                ErrorKind.BAD_PARQUET,
                "is no file of statistics",
                where=join_uri(self.uri, part.location),
                expected=f"the columns {', '.join(_SCHEMA.names)}",
                found=" ".join(str(error).split())[:200],
                hint="delete the file; its step is computed anew",
            ) from error
        wanted = ("table", "statistic", "part", "value", "low", "high")
        rows = zip(*(columns[name] for name in wanted), strict=True)
        return [
            Statistic(table, name, where, value, None if low is None else Interval(low, high))
            for table, name, where, value, low, high in rows
        ]


def _name(step: int | None, metadata_sha256: str, options: str) -> str:
    return f"{'none' if step is None else f'{step:018d}'}-{metadata_sha256[:12]}-{options}.parquet"


def _part(location: str, uri: str) -> HistoryPart:
    match = _NAME.fullmatch(location)
    if match is None:
        raise _taken(uri, repr(location))
    step = None if match["step"] == "none" else int(match["step"])
    return HistoryPart(location, step, match["metadata"], match["options"])


def _taken(uri: str, found: str) -> RefusedError:
    return RefusedError(
        ErrorKind.DESTINATION_TAKEN,
        "is no history of statistics",
        where=uri,
        expected="a directory that embsnap made for statistics, or nothing",
        found=found,
        hint="give another name; a history is a directory, as other tools' partitioned parquet is",
    )


def _table(stats: SnapshotStats) -> pa.Table:
    found = list(statistics_of(stats))
    constant = {
        "uri": stats.uri,
        "metadata_sha256": stats.metadata_sha256,
        "step": stats.step,
        "walltime": stats.walltime,
    }
    columns = {name: [value] * len(found) for name, value in constant.items()}
    columns["table"] = [statistic.table for statistic in found]
    columns["statistic"] = [statistic.name for statistic in found]
    columns["part"] = [statistic.part for statistic in found]
    columns["value"] = [float(statistic.value) for statistic in found]
    columns["low"] = [None if statistic.interval is None else statistic.interval.low for statistic in found]
    columns["high"] = [None if statistic.interval is None else statistic.interval.high for statistic in found]
    return pa.table(columns, schema=_SCHEMA)

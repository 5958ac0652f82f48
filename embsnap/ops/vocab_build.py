"""Building a vocabulary from event logs: which ids get a row, and which row.

Rows: reserved ones first, then OOV rows, then the entities, the most frequent first.

Shape suffixes: N entities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from embsnap import __version__
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.counted_ids import CountedIds, Cut
from embsnap.formats.events import Engine, EventColumns, count_ids
from embsnap.formats.vocabulary_writer import check_destination, write_vocabulary
from embsnap.kernels.loading import kernels_loading, load_fingerprint
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocabulary import Declared, Vocabulary
from embsnap.ops.vocabulary import fingerprint_of

__all__ = ["BuildOptions", "BuildResult", "Built", "build_vocabulary", "vocabulary_of"]

_MAX_SPECIAL_ROWS = 2**62
"""Beyond them there are rows for entities in an int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What `build_vocabulary` is to do."""

    id_columns: tuple[str, ...]
    """Columns of ids, or of lists of ids, counted together."""
    time_column: str | None = None
    """Its largest value is kept for each id, as `last_seen`."""
    min_count: int = 1
    """Ids seen less often get no row."""
    max_size: int | None = None
    """At most so many entities get one."""
    num_reserved: int = 0
    """Rows at the front for padding, nulls and the like."""
    num_oov: int = 0
    """Rows after those for unknown ids."""
    engine: Engine = field(default_factory=Engine)
    storage_options: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Do nothing if each number can be.

        Raises:
            UsageError: `bad-option`.
        """
        limits = {"min_count": 1, "max_size": 1, "num_reserved": 0, "num_oov": 0}
        for name, least in limits.items():
            value = getattr(self, name)
            if value is not None and value < least:
                where = f"--{name.replace('_', '-')}"
                expected = f"{least} or more"
                raise UsageError(ErrorKind.BAD_OPTION, "is too small", where=where, expected=expected, found=value)
        special = self.num_reserved + self.num_oov
        if special > _MAX_SPECIAL_ROWS:
            where, expected = "--reserved and --num-oov", "2**62 together at most"
            raise UsageError(ErrorKind.BAD_OPTION, "leave no row", where=where, expected=expected, found=special)


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What was counted, and what became of it."""

    schema: ClassVar[str] = "embsnap.vocab_build"
    schema_version: ClassVar[int] = 1

    uri: str | None
    """Of the file; None if nothing was written."""
    id_type: str
    fingerprint: str
    num_files: int
    num_records: int
    num_events: int
    """Ids in the records, nulls left out."""
    num_nulls: int
    num_distinct: int
    num_entities: int
    """Distinct ids that have a row."""
    num_rare: int
    """Distinct ids below `min_count`."""
    num_rare_events: int
    num_beyond: int
    """Distinct ids beyond `max_size`."""
    num_beyond_events: int
    coverage: float
    """Share of the events whose id has a row."""
    reserved: tuple[int, int] | None
    oov: tuple[int, int] | None
    num_rows: int
    """That the table needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A vocabulary that is not written yet, and what there is to say of it."""

    vocabulary: Vocabulary
    result: BuildResult

    def write(self, uri: str, options: Mapping[str, str] | None = None) -> BuildResult:
        """Write it to a file that ends in `.parquet` or `.pq`, or into an empty directory; `options` are the store's.

        Raises:
            RefusedError: `destination-taken`.
            StorageError: The disk is full, or the storage failed.
        """
        return replace(self.result, uri=write_vocabulary(self.vocabulary, uri, options=options))


def build_vocabulary(
    events: Sequence[str], options: BuildOptions, *, out: str | None = None, progress: Progress = SILENT
) -> Built:
    """Count the ids of event logs, and give the most frequent ones rows.

    Args:
        events: Parquet files, directories or globs.
        options: Which ids get a row.
        out: Where it is going to be written: refused at once if that is taken.
        progress: Is told the records counted.

    Returns:
        The vocabulary, the same for the same events in whatever files and order, with counts (and times).

    Raises:
        UsageError: `bad-option` or `bad-uri`.
        NotFoundError: `no-such-object`: no parquet file is there.
        IncompatibleError: `bad-vocabulary`: a column does not fit, or no id is left; `id-type-mismatch`.
        RefusedError: `destination-taken`.
        SnapshotError: `bad-parquet`.
        StorageError: What spills does not fit, or the storage failed.
    """
    options.check()
    if out is not None:
        check_destination(out, options.storage_options)
    columns = EventColumns(options.id_columns, time=options.time_column)
    cut = Cut(options.min_count, options.max_size)
    storage = options.storage_options
    with kernels_loading(load_fingerprint):
        counted = count_ids(events, columns, cut=cut, engine=options.engine, options=storage, progress=progress)
    if not len(counted):
        raise _nothing_left(counted, events, options)
    vocabulary = replace(vocabulary_of(counted, options, events), uri=out or "the new vocabulary")
    return Built(vocabulary, _result(counted, vocabulary, options.engine.threads))


def vocabulary_of(counted: CountedIds, options: BuildOptions, inputs: Sequence[str] = ()) -> Vocabulary:
    """Give rows to ids in the order in which they were counted.

    Args:
        counted: As `embsnap.formats.events.count_ids` returns them.
        options: For the number of reserved and OOV rows, and for the record of where it comes from.
        inputs: URIs, for that record.
    """
    first = options.num_reserved + options.num_oov
    rows_N = np.arange(first, first + len(counted), dtype=np.int64)
    recorded = {
        "id_columns": list(options.id_columns),
        "time_column": options.time_column,
        "min_count": options.min_count,
        "max_size": options.max_size,
    }
    declared = Declared(
        num_rows=first + len(counted),
        reserved=((0, options.num_reserved),) if options.num_reserved else (),
        oov=(options.num_reserved, first) if options.num_oov else None,
        provenance={
            "tool": f"embsnap {__version__}",
            "command": "vocab build",
            "inputs": [{"uri": uri} for uri in sorted(inputs)],
            "options": recorded,
        },
    )
    return Vocabulary(
        "",
        counted.id_type,
        counted.ids,
        rows_N,
        counted.counts_N,
        last_seen_N=counted.last_seen_N,
        last_seen_type=counted.last_seen_type,
        declared=declared,
    )


def _result(counted: CountedIds, vocabulary: Vocabulary, threads: int) -> BuildResult:
    declared = vocabulary.declared or Declared()
    kept = counted.num_events - counted.rare.events - counted.beyond.events
    return BuildResult(
        uri=None,
        id_type=counted.id_type.value,
        fingerprint=fingerprint_of(vocabulary, threads=threads),
        num_files=counted.num_files,
        num_records=counted.num_records,
        num_events=counted.num_events,
        num_nulls=counted.num_nulls,
        num_distinct=counted.num_distinct,
        num_entities=len(counted),
        num_rare=counted.rare.ids,
        num_rare_events=counted.rare.events,
        num_beyond=counted.beyond.ids,
        num_beyond_events=counted.beyond.events,
        coverage=kept / counted.num_events,
        reserved=declared.reserved[0] if declared.reserved else None,
        oov=declared.oov,
        num_rows=declared.num_rows or 0,
    )


def _nothing_left(counted: CountedIds, events: Sequence[str], options: BuildOptions) -> IncompatibleError:
    distinct, nulls = counted.num_distinct, counted.num_nulls
    return IncompatibleError(
        ErrorKind.BAD_VOCABULARY,
        "no id is left to have a row",
        where=", ".join(events),
        expected=f"ids seen {options.min_count} times or more in {', '.join(options.id_columns)}",
        found=f"{distinct:,} distinct ids and {nulls:,} nulls in {counted.num_records:,} records",
        hint="lower --min-count, or check the files and the column",
    )

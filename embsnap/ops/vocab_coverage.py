"""How much of what happens in event logs a vocabulary knows.

Shape suffixes: N entities of the vocabulary, M distinct ids of the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embsnap.config.embedding import StratifierConfig
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.events import CountedIds, Engine, EventColumns, Stratum, count_ids
from embsnap.formats.vocabulary import VocabularyColumns, read_vocabulary
from embsnap.kernels.join import join
from embsnap.kernels.threads import split
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocab_coverage import Covered, Decile, MissingId, VocabCoverage
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.vocab_entities import exact_sum, id_of

__all__ = ["VocabCoverageOptions", "cover_events"]

_NUM_DECILES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabCoverageOptions:
    """Which events count, and how."""

    id_columns: Sequence[str]
    """Of ids, or of lists of ids, in the events."""
    strata: Sequence[StratifierConfig] = ()
    discrete_column: str = "discrete_features"
    """Lists of integers in the events, which strata are told by."""
    min_coverage: float | None = None
    num_missing: int = 10
    """How many missing ids are listed."""
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    engine: Engine = field(default_factory=Engine)
    """For counting; its threads work on the rest too."""
    storage_options: Mapping[str, str] = field(default_factory=dict)
    """Of the vocabulary's store."""


@dataclass(frozen=True, slots=True, eq=False)
class _Matched:
    """Counted ids, and which entity each is."""

    counted: CountedIds
    entity_M: NDArray[np.int64]
    """Index in the vocabulary, or -1."""


def cover_events(
    uri: str, events: Sequence[str], options: VocabCoverageOptions, *, progress: Progress = SILENT
) -> VocabCoverage:
    """Count the events' ids, and look each up in the vocabulary at `uri`.

    Args:
        uri: The vocabulary's.
        events: Local parquet files, directories or globs.
        options: Which columns hold ids, and what to tell apart.
        progress: Is told of reading and counting.

    Raises:
        IncompatibleError: `id-type-mismatch`: the events' ids are of another type than the vocabulary's; or as
            `read_vocabulary` and `count_ids` say of columns.
        NotFoundError: No parquet file is there.
        UsageError: The events are not local, or no column is named.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed, or what spills does not fit on the disk.
    """
    storage, threads = options.storage_options, options.engine.threads
    vocabulary = read_vocabulary(uri, columns=options.columns, options=storage, threads=threads, progress=progress)

    def matched(ids: Sequence[str], stratum: StratifierConfig | None = None) -> _Matched:
        part = None if stratum is None else Stratum(options.discrete_column, stratum.index, stratum.value)
        columns = EventColumns(tuple(ids))
        counted = count_ids(events, columns, stratum=part, engine=options.engine, options=storage, progress=progress)
        return _match(vocabulary, counted, events, threads)

    together = matched(options.id_columns)
    total = _covered(", ".join(options.id_columns), together)
    columns = [total] if len(options.id_columns) == 1 else [_covered(c, matched([c])) for c in options.id_columns]
    strata = [_covered(stratum.name, matched(options.id_columns, stratum)) for stratum in options.strata]
    is_enough = options.min_coverage is None or (total.coverage or 0.0) >= options.min_coverage
    return VocabCoverage(
        uri=uri,
        events=tuple(events),
        num_entities=len(vocabulary),
        id_type=vocabulary.id_type,
        total=total,
        columns=tuple(columns),
        strata=tuple(strata),
        deciles=tuple(_deciles(vocabulary, together)),
        missing=_missing(together, options.num_missing),
        min_coverage=options.min_coverage,
        ok=total.coverage is not None and is_enough,
        findings=vocabulary.findings,
    )


def _match(vocabulary: Vocabulary, counted: CountedIds, events: Sequence[str], threads: int) -> _Matched:
    if counted.id_type is not vocabulary.id_type:
        raise IncompatibleError(
            ErrorKind.ID_TYPE_MISMATCH,
            "the events have ids of another type than the vocabulary, so that none would match",
            where=", ".join(events),
            expected=f"{vocabulary.id_type} ids, as in {vocabulary.uri}",
            found=f"{counted.id_type} ids",
            hint="write the ids of both in one type",
        )
    entities, ids = np.arange(len(vocabulary)), np.arange(len(counted))
    joined = join(vocabulary.ids, entities, counted.ids, ids, len(counted), threads=threads)
    return _Matched(counted, joined.row_V)


def _covered(name: str, matched: _Matched) -> Covered:
    counted, is_known_M = matched.counted, matched.entity_M >= 0
    num_hits = exact_sum(counted.counts_N[is_known_M])
    coverage = num_hits / counted.num_events if counted.num_events else None
    return Covered(
        name=name,
        num_events=counted.num_events,
        num_hits=num_hits,
        coverage=coverage,
        oov_rate=None if coverage is None else (counted.num_events - num_hits) / counted.num_events,
        num_ids=len(counted),
        num_known_ids=int(np.count_nonzero(is_known_M)),
        num_nulls=counted.num_nulls,
    )


def _deciles(vocabulary: Vocabulary, matched: _Matched) -> Iterator[Decile]:
    """Tenths of the entities by falling counts, equal ones by row; fewer than ten if there are fewer entities."""
    if vocabulary.counts_N is None:
        return
    is_known_M, num_events = matched.entity_M >= 0, matched.counted.num_events
    hits_N = np.zeros(len(vocabulary), np.int64)
    hits_N[matched.entity_M[is_known_M]] = matched.counted.counts_N[is_known_M]
    order = np.lexsort((vocabulary.rows_N, -vocabulary.counts_N))
    for number, (start, end) in enumerate(split(len(order), _NUM_DECILES), 1):
        inside = order[start:end]
        num_hits = exact_sum(hits_N[inside])
        yield Decile(
            number=number,
            num_entities=end - start,
            max_count=int(vocabulary.counts_N[inside[0]]),
            min_count=int(vocabulary.counts_N[inside[-1]]),
            num_seen=int(np.count_nonzero(hits_N[inside])),
            num_hits=num_hits,
            share=num_hits / num_events if num_events else None,
        )


def _missing(matched: _Matched, num_shown: int) -> tuple[MissingId, ...]:
    """The counted ids come with the most frequent first."""
    counted = matched.counted
    indices = np.flatnonzero(matched.entity_M < 0)[:num_shown].tolist()
    return tuple(MissingId(id_of(counted.ids, counted.id_type, i), int(counted.counts_N[i])) for i in indices)

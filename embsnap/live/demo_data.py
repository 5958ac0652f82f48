"""The demo's files: events and vocabularies as parquet, and batches of row indices out of them.

Shape suffixes: N entities, E events, B examples of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embsnap.live.demo_graph import RELATIONS, DayEvents
from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.storage.uri import open_store

__all__ = [
    "TABLES",
    "UNKNOWN_ROW",
    "DayRows",
    "int64_ids",
    "lookup_rows",
    "rank_entities",
    "read_events",
    "roomy",
    "rows_of_day",
    "write_events",
    "write_vocabulary",
]

TABLES = ("user", "post")
UNKNOWN_ROW = 0
"""Row of every entity that the vocabulary does not know; the vocabulary's own begin after it."""

_SPARE_ROWS = 1_000
_VOCABULARY_PARTS = 2


@dataclass(frozen=True, slots=True, eq=False)
class DayRows:
    """The events of one day as row indices, ready to train on."""

    users_E: NDArray[np.int64]
    relations_E: NDArray[np.int64]
    posts_E: NDArray[np.int64]

    def slices(self, batch_size: int, epochs: int = 1) -> Iterator[slice]:
        """The events of each full batch, in order, `epochs` times."""
        for _ in range(epochs):
            for start in range(0, len(self.users_E) - batch_size + 1, batch_size):
                yield slice(start, start + batch_size)


def rank_entities(ids_E: NDArray[np.int64], uri: str) -> Vocabulary:
    """The vocabulary of a day's entities, the most frequent first (equal counts by id), from row 1 on."""
    ids_N, counts_N = np.unique(ids_E, return_counts=True)
    order_N = np.argsort(-counts_N, kind="stable")
    rows_N = np.arange(1, len(ids_N) + 1)
    return Vocabulary(uri, IdType.INT64, ids_N[order_N], rows_N, counts_N[order_N].astype(np.int64))


def roomy(vocabulary: Vocabulary) -> int:
    """`num_embeddings` for a vocabulary: its entities and the unknown row, rounded up to full thousands."""
    return -(-(len(vocabulary) + 1) // _SPARE_ROWS) * _SPARE_ROWS


def int64_ids(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """The ids of a vocabulary of this demo."""
    assert isinstance(vocabulary.ids, np.ndarray)
    return vocabulary.ids.astype(np.int64, copy=False)


def lookup_rows(vocabulary: Vocabulary, ids_E: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each id, int64 `[E]`; `UNKNOWN_ROW` for those that the vocabulary does not know."""
    ids_N = int64_ids(vocabulary)
    order_N = np.argsort(ids_N)
    sorted_ids_N = ids_N[order_N]
    found_E = np.clip(np.searchsorted(sorted_ids_N, ids_E), 0, len(sorted_ids_N) - 1)
    rows_E: NDArray[np.int64] = np.where(
        sorted_ids_N[found_E] == ids_E, vocabulary.rows_N[order_N[found_E]], UNKNOWN_ROW
    )
    return rows_E


def rows_of_day(events: DayEvents, users: Vocabulary, posts: Vocabulary) -> DayRows:
    """The events by row."""
    return DayRows(lookup_rows(users, events.user_ids_E), events.relations_E, lookup_rows(posts, events.post_ids_E))


def write_vocabulary(vocabulary: Vocabulary, options: Mapping[str, str] | None = None) -> None:
    """Write it to its URI, a directory: parquet files with the columns id, row and count."""
    table = pa.table({"id": vocabulary.ids, "row": vocabulary.rows_N, "count": vocabulary.counts_N})
    part_rows = -(-len(vocabulary) // _VOCABULARY_PARTS)
    for part in range(_VOCABULARY_PARTS):
        _write_part(table.slice(part * part_rows, part_rows), part, vocabulary.uri, options, use_dictionary=False)


def write_events(events: DayEvents, uri: str, options: Mapping[str, str] | None = None) -> None:
    """Write the events of a day into a directory, as one parquet file: user_id, relation and post_id."""
    relations = pa.DictionaryArray.from_arrays(pa.array(events.relations_E, pa.int8()), pa.array(RELATIONS))
    table = pa.table({"user_id": events.user_ids_E, "relation": relations, "post_id": events.post_ids_E})
    _write_part(table, 0, uri, options)


def read_events(uri: str, options: Mapping[str, str] | None = None) -> DayEvents:
    """The events of a day, in order."""
    with open_store(uri, options).open(_part(0)) as file, pq.ParquetFile(file) as parquet:
        table = parquet.read()
    relations = pc.index_in(table["relation"].cast(pa.string()), pa.array(RELATIONS))
    return DayEvents(
        table["user_id"].to_numpy(),
        relations.to_numpy().astype(np.int64),
        table["post_id"].to_numpy(),
    )


def _write_part(table: Any, part: int, uri: str, options: Mapping[str, str] | None, **layout: Any) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **layout)
    with open_store(uri, options).writer(_part(part)) as writer:
        writer.write(memoryview(sink.getvalue()))


def _part(part: int) -> str:
    return f"part-{part:05}.parquet"

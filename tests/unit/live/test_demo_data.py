"""The demo's files: vocabularies by rank, events to and from parquet, ids to rows."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from embsnap.formats.vocabulary import read_vocabulary
from embsnap.live.demo_data import (
    UNKNOWN_ROW,
    DayRows,
    lookup_rows,
    rank_entities,
    read_events,
    roomy,
    rows_of_day,
    write_events,
    write_vocabulary,
)
from embsnap.live.demo_graph import DayEvents

IDS = np.array([70, 5, 70, 9, 70, 5, 2**62])


def test_the_most_frequent_entity_has_the_first_row_after_the_unknown() -> None:
    vocabulary = rank_entities(IDS, "somewhere")
    assert vocabulary.ids.tolist() == [70, 5, 9, 2**62]
    assert vocabulary.rows_N.tolist() == [1, 2, 3, 4]
    assert vocabulary.counts_N.tolist() == [3, 2, 1, 1]
    assert roomy(vocabulary) == 1_000


def test_ids_outside_of_the_vocabulary_have_the_unknown_row() -> None:
    vocabulary = rank_entities(IDS, "somewhere")
    assert lookup_rows(vocabulary, np.array([9, 6, 70, 2**63 - 1, 0])).tolist() == [3, UNKNOWN_ROW, 1, 0, 0]


def test_a_written_vocabulary_reads_the_same(tmp_path) -> None:
    vocabulary = rank_entities(IDS, str(tmp_path / "vocab"))
    write_vocabulary(vocabulary)
    read = read_vocabulary(vocabulary.uri)
    assert len(list((tmp_path / "vocab").iterdir())) == 2
    assert read.id_type is vocabulary.id_type
    for field in ("ids", "rows_N", "counts_N"):
        assert np.array_equal(getattr(read, field), getattr(vocabulary, field))


def test_written_events_read_the_same(tmp_path) -> None:
    events = DayEvents(np.array([7, 7, 9]), np.array([2, 0, 1]), np.array([1, 2, 2]))
    write_events(events, str(tmp_path / "events"))
    read = read_events(str(tmp_path / "events"))
    for field in fields(events):
        assert np.array_equal(getattr(read, field.name), getattr(events, field.name))


def test_events_become_rows_and_full_batches() -> None:
    events = DayEvents(np.array([7, 7, 9]), np.array([2, 0, 1]), np.array([1, 2, 2]))
    rows = rows_of_day(events, rank_entities(events.user_ids_E, "u"), rank_entities(events.post_ids_E[:1], "p"))
    assert isinstance(rows, DayRows)
    assert rows.users_E.tolist() == [1, 1, 2]
    assert rows.posts_E.tolist() == [1, UNKNOWN_ROW, UNKNOWN_ROW]
    assert list(rows.slices(2, epochs=2)) == [slice(0, 2), slice(0, 2)]

"""Rows follow their entities, whatever the ids, the order and the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.vocabulary import IdType
from embsnap.ops.warmstart.plan import WarmstartOptions, plan_warmstart, write_warmstart
from embsnap.ops.warmstart.result import Alignment, RowCounts
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary


@pytest.mark.parametrize(
    "ids",
    [
        [7, -3, 2**62, 0, 11],
        ["a", "", "user/1", "Ünï", "a "],
        [b"\x00", b"", b"\xff\xfe", b"a", b"b"],
    ],
    ids=["int64", "string", "binary"],
)
def test_an_entity_keeps_its_row(days, make_rows, ids) -> None:
    old = make_rows(5, 3)
    days.old(old, ids, [4, 0, 3, 1, 2])
    days.new([ids[3], ids[0], ids[4]])
    result, snapshot = days.run(3)
    np.testing.assert_array_equal(read_array(snapshot, "user"), old[[1, 4, 2]])
    report = result.tables[0]
    assert report.counts == RowCounts(carried=3, new=0, dropped=2, reserved=0, unoccupied=0)
    assert (report.alignment, report.coverage) == (Alignment.VOCABULARY, 1.0)


def test_ids_beyond_the_signed_range_match(days, make_rows) -> None:
    old = make_rows(3, 2)
    days.old(old, [1])
    ids = [2**64 - 1, 2**63, 5]
    for name, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        vocabulary = make_vocabulary([ids[i] for i in order], id_type=IdType.UINT64)
        write_vocabulary(vocabulary, f"{days.root}/{name}.parquet")
    days.pretrained, days.table = {"vocab": f"{days.root}/a.parquet"}, {"vocab": f"{days.root}/b.parquet"}
    np.testing.assert_array_equal(days.rows(3), old[[2, 0, 1]])


def test_gaps_and_tail_are_unoccupied_rows(days, make_rows) -> None:
    old = make_rows(4, 2)
    days.old(old, [10, 11, 12, 13])
    days.new([13, 99], [5, 2])
    result, snapshot = days.run(8)
    rows = read_array(snapshot, "user")
    np.testing.assert_array_equal(rows[5], old[3])
    assert result.tables[0].counts == RowCounts(carried=1, new=1, dropped=3, reserved=0, unoccupied=6)
    assert result.tables[0].coverage == 0.5
    assert len(np.unique(rows, axis=0)) == 8
    assert (np.abs(rows[[0, 1, 2, 3, 4, 6, 7]]) <= 1 / np.sqrt(8)).all()


def test_a_new_entity_gets_the_same_row_wherever_it_stands(days, new_days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 50, 51, 52])
    first = days.rows(4)
    other = new_days()
    other.old(make_rows(2, 4), [1, 2])
    other.new([52, 1, 50], [3, 1, 0])
    second = other.rows(4)
    np.testing.assert_array_equal(first[1], second[0])
    np.testing.assert_array_equal(first[3], second[3])
    assert not np.array_equal(first[2], second[2])


def test_threads_and_blocks_change_no_byte(days, make_rows) -> None:
    rng = np.random.default_rng(3)
    old = make_rows(9000, 16)
    days.old(old, rng.permutation(9000).tolist())
    days.new(rng.permutation(np.arange(1000, 10_000)).tolist())
    once = days.rows(9500, threads=1, memory_budget=4 * 64 << 10)
    again = days.rows(9500, threads=3, memory_budget=1 << 30)
    np.testing.assert_array_equal(once, again)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_against_a_dictionary(new_days, data: st.DataObject) -> None:
    old_ids = data.draw(st.lists(st.integers(-5, 40), min_size=1, max_size=30, unique=True))
    new_ids = data.draw(st.lists(st.integers(-5, 40), min_size=1, max_size=30, unique=True))
    if not set(old_ids) & set(new_ids):
        new_ids[0] = old_ids[0]
    num_new = len(new_ids) + data.draw(st.integers(0, 4))
    new_rows = data.draw(st.permutations(range(num_new)))[: len(new_ids)]
    old = np.random.default_rng(0).standard_normal((len(old_ids), 3)).astype(np.float32)
    days = new_days()
    days.old(old, old_ids)
    days.new(new_ids, new_rows)
    rows = days.rows(num_new)
    by_id = dict(zip(old_ids, old, strict=True))
    for entity, row in zip(new_ids, new_rows, strict=True):
        if entity in by_id:
            np.testing.assert_array_equal(rows[row], by_id[entity])
        else:
            assert (np.abs(rows[row]) <= 1 / np.sqrt(num_new)).all()


def test_two_tables_of_one_snapshot_and_a_cold_one(tmp_path, days, make_rows) -> None:
    rows = {"user": make_rows(3, 2), "user_country": make_rows(4, 2)}
    write_arrays(f"{tmp_path}/old", rows)
    write_vocabulary(make_vocabulary([5, 6, 7]), f"{tmp_path}/v.parquet")
    pretrained = {"embedding_snapshot_uri": f"{tmp_path}/old"}
    config = LargeEmbeddingsConfig.model_validate(
        {
            "tables": [
                {
                    "name": "country",
                    "num_embeddings": 4,
                    "embedding_dim": 2,
                    "pretrained": {**pretrained, "emb_name": "user_country", "by_position": True},
                },
                {
                    "name": "member",
                    "num_embeddings": 3,
                    "embedding_dim": 2,
                    "vocab": f"{tmp_path}/v.parquet",
                    "pretrained": {**pretrained, "emb_name": "user", "vocab": f"{tmp_path}/v.parquet"},
                },
                {"name": "cold", "num_embeddings": 5, "embedding_dim": 3, "initializer": {"constant": {"value": 0.5}}},
            ]
        }
    )
    result = write_warmstart(plan_warmstart(config, WarmstartOptions()), f"{tmp_path}/out")
    assert [table.alignment for table in result.tables] == ["position", "vocabulary", "cold"]
    np.testing.assert_array_equal(read_array(f"{tmp_path}/out", "country"), rows["user_country"])
    np.testing.assert_array_equal(read_array(f"{tmp_path}/out", "member"), rows["user"])
    np.testing.assert_array_equal(read_array(f"{tmp_path}/out", "cold"), np.full((5, 3), 0.5, np.float32))


def test_the_report_tells_tables_of_one_name_apart(days, make_rows) -> None:
    path = "ema/ebc.embedding_bags.user.weight"
    days.old(make_rows(3, 2), [1], **{path: make_rows(3, 2)})
    days.table, days.pretrained = {"vocab": None}, {"emb_name": path, "by_position": True, "vocab": None}
    assert days.plan(3).tables[0].source_table == path

"""Warm starts by a row map that was given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from embsnap.errors import ErrorKind, GateError, IncompatibleError, UsageError
from embsnap.formats.remap import write_remap
from embsnap.model.remap import RemapOrigin
from embsnap.ops.vocab_align import AlignOptions, plan_alignment, write_alignment
from embsnap.ops.warmstart.plan import WarmstartOptions, plan_warmstart
from embsnap.ops.warmstart.result import Alignment
from embsnap.storage.uri import open_store
from embsnap.testing.tables import read_array
from embsnap.testing.vocabularies import parquet_bytes, put


@pytest.fixture
def two(days, make_rows):
    """Ten old rows, of which entities 10..14 hold 0..4; the new vocabulary keeps three of them, moved, and adds 20."""
    days.old(make_rows(10, 4), [10, 11, 12, 13, 14], [0, 2, 4, 6, 8])
    days.new([13, 20, 10, 14], [1, 2, 5, 0], counts=[5, 1, 3, 1])
    return days


def aligned(days, num_new_rows=6, num_old_rows=10, **options):
    options = AlignOptions(num_embeddings=num_new_rows, num_old_rows=num_old_rows, **options)
    plan = plan_alignment(f"{days.root}/old.parquet", f"{days.root}/new.parquet", options)
    return write_alignment(plan, f"{days.root}/map.parquet").destination


def by_hand(days, **columns):
    return put(f"{days.root}/map.parquet", parquet_bytes(columns))


def options(uri):
    return {"row_maps": {"user": uri}}


def refused(days, uri, error=IncompatibleError, num_embeddings=6):
    with pytest.raises(error) as caught:
        days.plan(num_embeddings, **options(uri))
    return caught.value


def without_vocabularies(days):
    days.table, days.pretrained = {"vocab": None}, {"vocab": None}


def same_but_for_the_way(report):
    return replace(report, alignment=None, row_map=None, findings=(), seconds=None)


def test_the_same_as_by_the_two_vocabularies(two):
    by_vocabulary, written = two.run(6)
    by_map, mapped = two.run(6, **options(aligned(two)))
    np.testing.assert_array_equal(read_array(mapped, "user"), read_array(written, "user"))
    (joined,), (given,) = by_vocabulary.tables, by_map.tables
    assert same_but_for_the_way(given) == same_but_for_the_way(joined)
    assert (given.alignment, given.row_map) == (Alignment.REMAP, f"{two.root}/map.parquet")
    assert mapped.sidecar.tables == written.sidecar.tables
    assert by_map.plan_digest != by_vocabulary.plan_digest


def test_without_a_vocabulary_the_map_s_ids_name_the_new_entities(two):
    uri = aligned(two)
    expected = two.rows(6)
    without_vocabularies(two)
    result, snapshot = two.run(6, **options(uri))
    np.testing.assert_array_equal(read_array(snapshot, "user"), expected)
    counts = result.tables[0].counts
    assert (counts.carried, counts.new, counts.dropped, counts.unoccupied) == (3, 1, 2, 2)


def test_without_ids_new_rows_are_drawn_by_their_row(two):
    uri = aligned(two, with_ids=False)
    with_entities = two.rows(6)
    without_vocabularies(two)
    rows = two.rows(6, **options(uri))
    np.testing.assert_array_equal(rows[[0, 1, 5]], with_entities[[0, 1, 5]])
    assert not np.array_equal(rows[2], with_entities[2])
    np.testing.assert_array_equal(rows[[3, 4]], with_entities[[3, 4]])
    assert np.abs(rows[2]).max() <= 1 / np.sqrt(6)


def test_rows_that_a_foreign_map_leaves_out_are_new(two, make_rows):
    without_vocabularies(two)
    result, snapshot = two.run(6, **options(by_hand(two, new_row=pa.array([5, 1], pa.int16()), old_row=[0, 7])))
    rows = read_array(snapshot, "user")
    np.testing.assert_array_equal(rows[[5, 1]], make_rows(10, 4)[[0, 7]])
    report = result.tables[0]
    assert (report.counts.carried, report.counts.new, report.counts.dropped, report.counts.unoccupied) == (2, 4, 8, 0)
    assert report.coverage == pytest.approx(2 / 6)


def test_but_for_reserved_rows(two, make_rows):
    without_vocabularies(two)
    two.table |= {"reserved": {"rows": "0:2", "policy": "carry"}}
    uri = by_hand(two, new_row=[5, 2], old_row=[0, 7])
    result, snapshot = two.run(6, **options(uri))
    counts = result.tables[0].counts
    assert (counts.carried, counts.new, counts.reserved, counts.unoccupied) == (2, 2, 2, 0)
    np.testing.assert_array_equal(read_array(snapshot, "user")[[0, 1]], make_rows(10, 4)[[0, 1]])


def test_with_a_vocabulary_only_its_entities_are_new(two):
    result = two.plan(6, **options(by_hand(two, new_row=[5], old_row=[0])))
    report = result.tables[0]
    assert (report.counts.carried, report.counts.new, report.counts.unoccupied) == (1, 3, 2)
    assert (report.coverage, report.weighted_coverage) == (0.25, 0.3)


def test_one_old_row_for_two_new_ones(two, make_rows):
    result, snapshot = two.run(6, **options(by_hand(two, new_row=[5, 1], old_row=[4, 4])))
    np.testing.assert_array_equal(read_array(snapshot, "user")[[5, 1]], make_rows(10, 4)[[4, 4]])
    report = result.tables[0]
    assert "shared-old-rows" in {finding.kind for finding in report.findings}
    assert (report.counts.carried, report.counts.dropped) == (2, 9)


def test_optimizer_state_follows(two, make_rows):
    two.root += "-with-state"
    state = make_rows(10, 1)
    path = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
    two.old(make_rows(10, 4), [10, 11, 12, 13, 14], [0, 2, 4, 6, 8], **{path: state})
    two.new([13, 20, 10, 14], [1, 2, 5, 0])
    _, snapshot = two.run(6, **options(aligned(two)))
    expected = np.zeros((6, 1), np.float32)
    expected[[1, 5, 0]] = state[[6, 0, 8]]
    np.testing.assert_array_equal(read_array(snapshot, path), expected)


def test_a_gate(two):
    with pytest.raises(GateError):
        two.plan(6, min_coverage=0.8, **options(aligned(two)))
    without_vocabularies(two)
    with pytest.raises(GateError) as error:
        two.plan(6, min_coverage=0.5, **options(by_hand_again(two)))
    assert error.value.kind is ErrorKind.COVERAGE_BELOW_GATE


def by_hand_again(days):
    return put(f"{days.root}/other.parquet", parquet_bytes({"new_row": [5], "old_row": [0]}))


@pytest.mark.parametrize("kind", ["mean", {"donor": {"id": 12}}, {"donor": {"column": "donor"}}])
def test_initializers_that_ask_the_old_vocabulary(two, kind):
    if isinstance(kind, dict) and "column" in kind["donor"]:
        open_store(two.root).delete("new.parquet")
        columns = {"id": [13, 20, 10, 14], "row": [1, 2, 5, 0], "donor": [None, 12, None, None]}
        put(f"{two.root}/new.parquet", parquet_bytes(columns))
    two.table = {"initializer": kind}
    expected = two.rows(6)
    np.testing.assert_array_equal(two.rows(6, **options(aligned(two))), expected)


def test_equal_digests_need_equal_maps(two):
    without_vocabularies(two)
    uris = [by_hand(two, new_row=[5], old_row=[0]), aligned_ids(two, "a", 7), aligned_ids(two, "b", 8)]
    digests = {two.plan(6, **options(uri)).plan_digest for uri in uris}
    assert len(digests) == 3


def aligned_ids(days, name, entity):
    columns = {"new_row": [5, 0], "old_row": [0, None], "id": [1, entity]}
    return put(f"{days.root}/{name}.parquet", parquet_bytes(columns))


def test_made_for_another_new_vocabulary(two):
    uri = aligned(two)
    two.new_again([13, 20, 10, 15])
    error = refused(two, uri)
    assert error.kind is ErrorKind.VOCABULARY_MISMATCH
    assert (error.where, error.problem) == (uri, "it was made for another new vocabulary")
    assert "newer.parquet" in error.found


def test_made_from_another_old_vocabulary(two):
    uri = aligned(two)
    open_store(two.root).delete("old.parquet")
    put(f"{two.root}/old.parquet", parquet_bytes({"id": [10, 11], "row": [1, 0]}))
    error = refused(two, uri)
    assert (error.kind, error.problem) == (ErrorKind.VOCABULARY_MISMATCH, "it was made from another old vocabulary")


def test_made_from_another_old_vocabulary_than_the_snapshot_records(two):
    uri = aligned(two)
    two.run_to(6, f"{two.root}/second", **options(uri))
    two.pretrained = {"embedding_snapshot_uri": f"{two.root}/second", "vocab": None}
    origin = RemapOrigin(old_fingerprint="v1:int64:5:0")
    uri = write_remap(f"{two.root}/stale.parquet", np.array([1]), np.array([0]), origin=origin)
    error = refused(two, uri)
    assert (error.kind, error.problem) == (ErrorKind.VOCABULARY_MISMATCH, "it was made from another old vocabulary")


def test_ids_that_contradict_the_vocabulary(two):
    error = refused(two, by_hand(two, new_row=[1, 2], old_row=[6, 0], id=[13, 14]))
    assert error.kind is ErrorKind.VOCABULARY_MISMATCH
    assert error.found == "14 in row 2"
    assert refused(two, aligned_text(two)).kind is ErrorKind.ID_TYPE_MISMATCH


def aligned_text(days):
    return put(f"{days.root}/text.parquet", parquet_bytes({"new_row": [1], "old_row": [6], "id": ["13"]}))


def test_rows_that_hold_no_entity(two):
    error = refused(two, by_hand(two, new_row=[1, 3], old_row=[6, 0]))
    assert error.kind is ErrorKind.VOCABULARY_MISMATCH
    assert error.found == "new_row 3"


def test_what_is_wrong_in_the_map_itself_comes_in_one_error(two):
    error = refused(two, by_hand(two, new_row=[9, 1, 1], old_row=[0, 0, 1]))
    assert error.kind is ErrorKind.ROW_OUT_OF_RANGE
    assert "a new row that an earlier record names already" in error.problem


def test_for_tables_of_other_sizes(two):
    assert refused(two, aligned(two), num_embeddings=7).kind is ErrorKind.SHAPE_MISMATCH


def test_nothing_carried(two):
    error = refused(two, by_hand(two, new_row=[1], old_row=pa.array([None], pa.int64())))
    assert (error.kind, error.problem) == (ErrorKind.ZERO_OVERLAP, "no new row takes an old one")


@pytest.mark.parametrize(
    ("name", "pretrained", "expected"),
    [
        ("usr", {}, "one of user"),
        ("user", {"by_position": True, "vocab": None}, "no such option, as no table can take one"),
    ],
)
def test_a_map_that_no_table_can_use(two, name, pretrained, expected):
    two.pretrained = pretrained
    with pytest.raises(UsageError) as error:
        plan_warmstart(two.parsed(10), WarmstartOptions(row_maps={name: "map.parquet"}))
    assert (error.value.kind, error.value.where) == (ErrorKind.BAD_OPTION, f"--remap {name}=map.parquet")
    assert error.value.expected == expected

"""The table behind an index: what it finds, and what damaged contents cannot make it do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.kernels import index as index_module
from embsnap.kernels.index import BUCKET_WORDS, IdTable, find_rows, make_table, spread_unknown
from embsnap.kernels.join import Duplicates
from embsnap.model.vocabulary import BytesIds, IdType
from embsnap.testing.vocabularies import bytes_ids, ids_of


def _found(table, ids, **options):
    rows_N = np.full(len(ids), -7)
    return rows_N.tolist(), find_rows(table, ids, rows_N, **options), rows_N.tolist()


def _rows(table, ids, **options):
    _, num_missing, rows = _found(table, ids, **options)
    assert num_missing == sum(row == -1 for row in rows)
    return rows


_INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
_BYTES = st.binary(max_size=40) | st.binary(max_size=2)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(_INTEGERS, IdType.INT64), (_BYTES, IdType.BINARY)]).flatmap(
        lambda kind: st.tuples(st.just(kind[1]), st.lists(kind[0], unique=True), st.lists(kind[0]))
    ),
    st.integers(1, 3),
)
def test_it_finds_what_a_dict_finds(case, threads):
    id_type, ids, others = case
    rows = [3 * i for i in range(len(ids))]
    truth = dict(zip(ids, rows, strict=True))
    table, duplicates = make_table(ids_of(ids, id_type), np.array(rows, np.int64).reshape(-1))
    asked = [*others, *ids, *others]
    assert duplicates == Duplicates(0, ())
    assert _rows(table, ids_of(asked, id_type), threads=threads) == [truth.get(one, -1) for one in asked]


@pytest.mark.parametrize("kind", ["integers", "bytes"])
def test_many_ids_in_several_blocks_and_threads(kind):
    rng = np.random.default_rng(0)
    numbers, rows = rng.choice(200_000, 30_000, replace=False), rng.permutation(30_000)
    asked = rng.integers(0, 200_000, 50_000)
    expected = np.full(200_000, -1)
    expected[numbers] = rows
    make = (lambda values: bytes_ids([b"entity %d" % one for one in values])) if kind == "bytes" else np.asarray
    table, _ = make_table(make(numbers), rows, threads=2)
    assert _rows(table, make(asked), threads=3) == expected[asked].tolist()


def test_unsigned_ids_beyond_int64():
    table, _ = make_table(np.array([2**64 - 1, 0], np.uint64), np.array([5, 6]))
    assert _rows(table, np.array([0, 2**64 - 1, 2**63], np.uint64)) == [6, 5, -1]


def test_ids_whose_bits_are_all_set_or_clear_are_not_taken_for_free_slots():
    table, _ = make_table(np.array([7]), np.array([0]))
    assert _rows(table, np.array([0, -1, 7])) == [-1, -1, 0]


def test_rows_may_be_beyond_int32():
    table, _ = make_table(np.array([1, 2]), np.array([2**40, 2**62]))
    assert _rows(table, np.array([2, 1])) == [2**62, 2**40]


def test_buckets_that_overflow_go_on_in_the_next_and_past_the_end(monkeypatch):
    """Every bucket but one slot is taken, so nearly all ids are far from where they belong."""
    monkeypatch.setattr(index_module, "_IDS_PER_BUCKET", 3.999)
    for size in (3, 7, 399, 3999):
        ids = np.random.default_rng(size).permutation(10 * size)[:size]
        table, _ = make_table(ids, np.arange(size))
        assert table.num_buckets * 4 - size <= 5
        assert _rows(table, ids) == list(range(size))
        assert _rows(table, ids + 10 * size) == [-1] * size
        texts = bytes_ids([b"%d" % one for one in ids])
        table, _ = make_table(texts, np.arange(size))
        assert _rows(table, texts) == list(range(size))


@pytest.mark.parametrize("owner", range(3))
def test_a_hash_is_never_trusted_alone(owner, monkeypatch):
    """All three slots of a bucket hold one id's hash: only the records tell which of them is its own."""
    monkeypatch.setattr(index_module, "_IDS_PER_BUCKET", 4)
    ids = bytes_ids([b"one", b"two", b"three"])
    table, _ = make_table(ids, np.array([10, 11, 12]))
    words = table.words_W.copy()
    words[:3] = words[owner]
    expected = [-1, -1, -1]
    expected[owner] = 10 + owner
    assert _rows(IdTable(words, table.records_R), ids) == expected


def test_repeated_ids_are_counted_and_the_first_one_holds():
    integers = np.array([5, 6, 5, 5, 7, 6])
    texts = bytes_ids([b"5", b"6", b"5", b"5", b"7", b"6"])
    for ids in (integers, texts):
        table, duplicates = make_table(ids, np.arange(6))
        assert duplicates == Duplicates(3, (2, 3, 5))
        assert _rows(table, ids) == [0, 1, 0, 0, 4, 1]


def test_offsets_of_arrow_strings_are_taken_as_they_are():
    table, _ = make_table(bytes_ids([b"a", b"bc"]), np.array([3, 4]))
    narrow = BytesIds(np.array([1, 1, 3, 4], np.int32), np.frombuffer(b"xbca", np.uint8))
    assert _rows(table, narrow) == [-1, 4, 3]


@pytest.mark.parametrize("offsets", [[0, 9], [-1, 1], [2, 1]])
def test_offsets_outside_of_the_data_are_refused(offsets):
    table, _ = make_table(bytes_ids([b"a"]), np.array([3]))
    broken = BytesIds(np.array(offsets, np.int64), np.frombuffer(b"abc", np.uint8))
    with pytest.raises(ValueError, match="id 0 has bytes outside of its data"):
        find_rows(table, broken, np.empty(1, np.int64))


def test_lengths_and_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 ids for 1 rows"):
        make_table(np.arange(2), np.arange(1))
    with pytest.raises(ValueError, match="must not be negative"):
        make_table(np.arange(2), np.array([0, -1]))
    table, _ = make_table(np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="2 ids for 3 rows"):
        find_rows(table, np.arange(2), np.empty(3, np.int64))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_contents_are_a_lookup_ends_within_them(seed):
    """Tables of noise, full of it too: no lookup runs for ever or leaves the records."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**64, 8 * BUCKET_WORDS, np.uint64)
    ids = bytes_ids([b"%d" % one for one in range(50)])
    if seed % 2:
        words.reshape(-1, BUCKET_WORDS)[:, 4:] %= np.uint64(100)
        words.reshape(-1, BUCKET_WORDS)[:, :4] = index_module.id_words(ids)[rng.integers(0, 50, (8, 4))]
    records = rng.integers(0, 256, 60, np.uint8)
    table = IdTable(words, records)
    assert len(_found(table, ids)[2]) == 50
    assert len(_found(table, np.arange(50))[2]) == 50


def test_unknown_ids_are_spread_over_the_rows_for_them():
    ids, rows = np.arange(1000), np.where(np.arange(1000) % 2, -1, 7)
    spread_unknown(ids, rows, 10, 14)
    assert set(rows[::2].tolist()) == {7}
    counts = np.bincount(rows[1::2], minlength=14)[10:]
    assert counts.sum() == 500
    assert counts.min() > 80
    again = np.full(3, -1)
    spread_unknown(ids[[5, 1, 3]], again, 10, 14)
    assert again.tolist() == rows[[5, 1, 3]].tolist()
    one = np.full(1000, -1)
    spread_unknown(ids, one, 3, 4)
    assert set(one.tolist()) == {3}
    with pytest.raises(ValueError, match="found \\[4, 4\\)"):
        spread_unknown(ids, one, 4, 4)

"""The id join on small, named cases; `tests/properties/test_join.py` compares it with a dict."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.kernels import join as join_module
from embsnap.kernels.hashing import id_keys
from embsnap.kernels.join import Duplicates, Joined, join
from embsnap.model.vocabulary import BytesIds


def _bytes_ids(*ids: str) -> BytesIds:
    encoded = [one.encode() for one in ids]
    offsets = np.cumsum([0, *(len(one) for one in encoded)], dtype=np.int64)
    return BytesIds(offsets, np.frombuffer(b"".join(encoded), np.uint8))


def _join(old, new, num_rows=None, **options) -> Joined:
    rows = np.arange(len(new))
    return join(old, np.arange(len(old)), new, rows, len(new) if num_rows is None else num_rows, **options)


def test_rows_follow_their_ids():
    old, new = np.array([10, 20, 30]), np.array([30, 99, 10])
    joined = join(old, np.array([7, 1, 4]), new, np.array([0, 2, 5]), 7, counts_N=np.array([3, 5, 2]))
    assert joined.row_V.tolist() == [4, -1, -1, -1, -1, 7, -1]
    assert joined.new_rows_N.tolist() == [2]
    assert (joined.new_keys_N == id_keys(new[[1]])).all()
    assert (joined.num_carried, joined.num_dropped) == (2, 1)
    assert (joined.carried_weight, joined.total_weight) == (5, 10)
    assert joined.old_duplicates == joined.new_duplicates == Duplicates(0, ())


def test_what_tensorflow_gives_for_the_same_vocabularies():
    joined = _join(_bytes_ids("f1", "f0", "f3"), _bytes_ids("f0", "f1", "f2", "f3"))
    assert joined.row_V[1:4].tolist() == [0, -1, 2]


def test_new_rows_ascend_whatever_the_order_of_the_ids():
    rows = np.random.default_rng(0).permutation(1000)
    ids = np.arange(1000) + 5000
    joined = join(np.arange(10), np.arange(10), ids, rows, 1000)
    assert joined.new_rows_N.tolist() == list(range(1000))
    assert (joined.new_keys_N == id_keys(ids)[np.argsort(rows)]).all()


def test_an_old_row_may_be_beyond_int32():
    joined = join(np.array([1, 2]), np.array([2**40, 2**62]), np.array([2, 1]), np.array([0, 1]), 2)
    assert joined.row_V.tolist() == [2**62, 2**40]


def test_unsigned_ids_beyond_int64():
    old, new = np.array([2**64 - 1, 2**63], np.uint64), np.array([2**63, 2**63 - 1, 2**64 - 1], np.uint64)
    assert _join(old, new).row_V.tolist() == [1, -1, 0]


def test_the_empty_string_is_an_id():
    joined = _join(_bytes_ids("a", ""), _bytes_ids("", "a", "b"))
    assert joined.row_V.tolist() == [1, 0, -1]


@pytest.mark.parametrize("empty", [np.zeros(0, np.int64), np.zeros(0, np.uint64), _bytes_ids()])
def test_sides_without_ids(empty):
    some = _bytes_ids("x", "y") if isinstance(empty, BytesIds) else np.arange(2, dtype=empty.dtype)
    both, old_only, new_only = _join(empty, empty, 3), _join(some, empty, 3), _join(empty, some, 3)
    assert both.row_V.tolist() == old_only.row_V.tolist() == new_only.row_V.tolist() == [-1, -1, -1]
    assert (both.num_dropped, old_only.num_dropped, new_only.num_dropped) == (0, 2, 0)
    assert new_only.new_rows_N.tolist() == [0, 1]
    assert len(_join(empty, empty, 0).row_V) == 0


def test_repeated_ids_are_counted_with_the_first_few_later_occurrences():
    old = np.array([5, 5, 6, 5, 7, 7, 5, 5, 5])
    new = np.array([6, 6, 8, 8, 5])
    joined = _join(old, new)
    assert joined.old_duplicates == Duplicates(6, (1, 3, 5, 6, 7))
    assert joined.new_duplicates == Duplicates(2, (1, 3))
    assert joined.row_V.tolist() == [2, -1, -1, -1, 0]
    assert joined.new_rows_N.tolist() == [2]
    assert (joined.num_carried, joined.num_dropped) == (2, 1)


def test_a_hash_is_never_trusted_alone(monkeypatch):
    """With a hash that tells nothing apart, only the bytes do."""
    monkeypatch.setattr(join_module, "id_words", lambda ids, threads: np.zeros(len(ids), np.uint64))
    old, new = _bytes_ids("a", "b", "ab", "a"), _bytes_ids("ab", "c", "b", "c", "b", "abcdefgh", "abcdefgX", "bbcdefgh")
    joined = _join(old, new)
    assert joined.row_V.tolist() == [2, -1, 1, -1, -1, -1, -1, -1]
    assert joined.new_rows_N.tolist() == [1, 5, 6, 7]
    assert joined.old_duplicates == Duplicates(1, (3,))
    assert joined.new_duplicates == Duplicates(2, (3, 4))


def _vocabularies(size: int, kind: str):
    rng = np.random.default_rng(0)
    old, new = (rng.choice(2 * size, size, replace=False) for _ in range(2))
    old[[size // 2, -1]], new[-1] = old[3], new[0]
    if kind == "bytes":
        return _bytes_ids(*map(str, old)), _bytes_ids(*map(str, new))
    return old, new


@pytest.mark.parametrize("kind", ["integers", "bytes"])
def test_threads_change_nothing(kind, monkeypatch):
    monkeypatch.setattr(join_module, "_SMALL", 0)
    old, new = _vocabularies(60_000, kind)
    rows = np.random.default_rng(1).permutation(70_000)[:60_000]
    counts = np.random.default_rng(2).integers(0, 100, 60_000)
    one, several = (join(old, rows, new, rows[::-1], 70_000, counts_N=counts, threads=threads) for threads in (1, 3))
    for name in ("row_V", "new_rows_N", "new_keys_N"):
        assert (getattr(one, name) == getattr(several, name)).all()
    for name in Joined.__slots__[3:]:
        assert getattr(one, name) == getattr(several, name)
    assert one.old_duplicates == Duplicates(2, (30_000, 59_999))
    assert one.new_duplicates == Duplicates(1, (59_999,))


def _id_of_key(key: int) -> int:
    """The integer whose key it is: `mix64` undone."""
    mask = (1 << 64) - 1
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        shifted = key
        for _ in range(3):
            shifted = key ^ (shifted >> shift)
        key = shifted * pow(factor, -1, 1 << 64) & mask
    return (key - 0x9E3779B97F4A7C15) & mask


def test_integers_whose_keys_agree_in_most_bits_are_told_apart():
    """These keys have one partition, one slot and one tag in it."""
    ids = np.array([_id_of_key(number << 24) for number in range(300)], np.uint64)
    assert id_keys(ids).tolist() == [number << 24 for number in range(300)]
    joined = _join(ids[:200], ids[100:][::-1])
    assert joined.row_V.tolist() == [-1] * 100 + list(range(100, 200))[::-1]
    assert joined.old_duplicates == joined.new_duplicates == Duplicates(0, ())


@pytest.mark.parametrize("threads", [1, 3])
def test_one_id_very_often(threads):
    ids = np.where(np.arange(200_000) % 3 == 2, np.arange(200_000), 7)
    joined = _join(ids, ids, threads=threads)
    assert joined.old_duplicates == joined.new_duplicates == Duplicates(133_333, (1, 3, 4, 6, 7))
    assert (joined.num_carried, joined.num_dropped, len(joined.new_rows_N)) == (66_667, 0, 0)


def test_ids_that_share_many_bits_are_no_slower_than_a_square():
    """Steps that a multiplicative hash alone would put into one partition, in a row."""
    step = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    ids = (np.arange(100_000, dtype=np.uint64) * np.uint64(step)).astype(np.uint64)
    assert (_join(ids, ids[::-1].copy()).row_V == np.arange(100_000)[::-1]).all()


def test_inputs_may_be_strided_and_read_only():
    old = np.repeat(np.arange(50), 2)[::2]
    old.flags.writeable = False
    assert _join(old, old[::-1]).row_V.tolist() == list(range(50))[::-1]


def test_rows_out_of_range_are_refused():
    ids, rows = np.arange(3), np.arange(3)
    for side, arguments in (
        ("old", (ids, rows - 1, ids, rows, 3)),
        ("new", (ids, rows, ids, rows - 1, 3)),
        ("new", (ids, rows, ids, rows, 2)),
    ):
        with pytest.raises(ValueError, match=f"rows of the {side} side must be in"):
            join(*arguments)


def test_lengths_that_differ_are_refused():
    ids, rows = np.arange(3), np.arange(3)
    with pytest.raises(ValueError, match="3 ids for 2 rows"):
        join(ids, rows[:2], ids, rows, 3)
    with pytest.raises(ValueError, match="2 counts for 3 ids"):
        join(ids, rows, ids, rows, 3, counts_N=np.ones(2, np.int64))

"""Keys of ids and fingerprints of vocabularies."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.kernels.hashing import fingerprint, id_keys, id_words, row_keys
from embsnap.kernels.mixing import mix64, mix64_int
from embsnap.model.vocabulary import BytesIds, IdType

WORD = (1 << 64) - 1


def _bytes_ids(*ids: bytes) -> BytesIds:
    offsets = np.cumsum([0, *(len(one) for one in ids)], dtype=np.int64)
    return BytesIds(offsets, np.frombuffer(b"".join(ids), np.uint8))


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_bytes_are_hashed_by_xxh64_as_published(text, digest):
    assert int(id_words(_bytes_ids(text))[0]) == digest


def test_splitmix64_gives_its_published_outputs():
    golden = 0x9E3779B97F4A7C15
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [mix64_int(i * golden) for i in range(3)] == expected
    assert [int(mix64(np.uint64(i * golden & WORD))) for i in range(3)] == expected


def test_the_key_of_an_integer_is_its_mixed_bits():
    ids = np.array([0, 1, -1, 2**62, -(2**63)], np.int64)
    assert id_keys(ids).tolist() == [mix64_int(int(value)) for value in ids]


def test_equal_integers_have_one_key_whatever_their_type():
    values = np.array([0, 5, 2**63 - 1])
    assert (id_keys(values.astype(np.int64)) == id_keys(values.astype(np.uint64))).all()
    beyond = np.array([2**63, 2**64 - 1], np.uint64)
    assert id_keys(beyond).tolist() == [mix64_int(2**63), mix64_int(2**64 - 1)]


def test_integers_never_share_a_key_and_neighbours_differ_in_half_of_the_bits():
    keys = id_keys(np.arange(-50_000, 50_000))
    assert len(np.unique(keys)) == 100_000
    differing = np.bitwise_count(keys[1:] ^ keys[:-1])
    assert abs(differing.mean() - 32) < 0.05
    assert abs(differing.std() - 4) < 0.05


def test_byte_ids_are_told_apart_at_every_length():
    ids = [b"x" * length for length in range(100)] + [b"x" * length + b"\0" for length in range(100)]
    keys = id_keys(_bytes_ids(*ids))
    assert len(np.unique(keys)) == 200
    shifted = BytesIds(np.array([3, 5, 5]), np.frombuffer(b"abcxx", np.uint8))
    assert (id_keys(shifted) == keys[[2, 0]]).all()


def test_threads_change_no_key():
    ids = _bytes_ids(*(str(i).encode() * (i % 7) for i in range(1000)))
    assert (id_keys(ids, threads=3) == id_keys(ids)).all()


def test_offsets_outside_their_data_are_refused():
    data = np.zeros(4, np.uint8)
    for offsets in ([0, 5], [-1, 2], [3, 2]):
        with pytest.raises(ValueError, match=r"id 0 has bytes \[.*\) of 4"):
            id_keys(BytesIds(np.array(offsets, np.int64), data))


def test_other_integer_types_are_refused():
    with pytest.raises(TypeError, match="int32"):
        id_keys(np.zeros(1, np.int32))


def test_rows_have_keys_of_their_own():
    keys = row_keys(0, 1000)
    assert (row_keys(300, 400) == keys[300:400]).all()
    assert len(np.intersect1d(keys, id_keys(np.arange(1000)))) == 0
    assert int(keys[7]) == mix64_int(7 ^ 0xD6E8FEB86659FD93)
    assert len(row_keys(5, 5)) == 0


def _fingerprint_by_definition(words: list[int], rows: list[int]) -> str:
    high = low = 0
    for word, row in zip(words, rows, strict=True):
        pair = mix64_int(mix64_int(word) + mix64_int(row ^ 0xD6E8FEB86659FD93))
        high += mix64_int(pair ^ 0xE7037ED1A0B428DB)
        low += mix64_int(pair ^ 0xA0761D6478BD642F)
    return f"{high & WORD:016x}{low & WORD:016x}"


def test_a_fingerprint_is_what_its_definition_says():
    ids, rows = np.array([5, -3, 2**62]), np.array([2, 0, 10**12])
    expected = _fingerprint_by_definition(ids.tolist(), rows.tolist())
    assert fingerprint(IdType.INT64, ids, rows) == f"v1:int64:3:{expected}"
    texts = _bytes_ids(b"", b"abc", "é".encode())
    expected = _fingerprint_by_definition(id_words(texts).tolist(), rows.tolist())
    assert fingerprint(IdType.STRING, texts, rows) == f"v1:string:3:{expected}"


def test_fingerprints_do_not_change_from_release_to_release():
    rows = np.arange(4)
    assert fingerprint(IdType.INT64, np.arange(4), rows) == "v1:int64:4:7ea5fd1140d30e6f0abe477ba5c97160"
    assert fingerprint(IdType.UINT64, np.zeros(0, np.uint64), rows[:0]) == f"v1:uint64:0:{0:032x}"


def test_a_fingerprint_depends_on_the_pairs_and_not_on_their_order():
    rng = np.random.default_rng(0)
    ids, rows = rng.integers(0, 2**62, 1000), rng.permutation(1000)
    order = rng.permutation(1000)
    one = fingerprint(IdType.INT64, ids, rows)
    assert fingerprint(IdType.INT64, ids[order], rows[order], threads=3) == one
    assert fingerprint(IdType.INT64, ids[order], rows) != one
    swapped = rows.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert fingerprint(IdType.INT64, ids, swapped) != one
    assert fingerprint(IdType.UINT64, ids.astype(np.uint64), rows) == one.replace("int64", "uint64")


def test_a_fingerprint_needs_one_row_for_each_id():
    with pytest.raises(ValueError, match="2 ids for 1 rows"):
        fingerprint(IdType.INT64, np.arange(2), np.arange(1))

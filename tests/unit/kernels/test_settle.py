"""Comparing the bytes of pairs that a match of keys has made."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.kernels import join as join_module
from embsnap.kernels.join import join
from embsnap.kernels.settle import settle
from embsnap.testing.vocabularies import bytes_ids

OLD = bytes_ids([b"a", b"", b"long enough for two words", b"b"])
NEW = bytes_ids([b"long enough for two words", b"x", b"a", b""])


def _settle(matches, threads=1):
    row_V = np.full(6, -9)
    old_rows, new_rows = np.array([40, 41, 42, 43]), np.array([5, 0, 2, 3])
    return settle(OLD, old_rows, NEW, new_rows, np.array(matches), row_V, threads=threads), row_V.tolist()


@pytest.mark.parametrize("threads", [1, 3])
def test_pairs_of_equal_bytes_become_rows(threads):
    assert _settle([2, -5, 0, 1], threads) == (True, [-5, -9, 40, 41, -9, 42])


@pytest.mark.parametrize("wrong", [[2, 3, 0, 1], [1, -5, 0, 1], [2, -5, 3, 1], [2, -5, 0, 0]])
def test_one_pair_of_unequal_bytes_is_enough(wrong):
    assert _settle(wrong, 2)[0] is False


def test_two_ids_with_one_hash_are_joined_by_their_bytes(monkeypatch):
    """One id on each side has the other's word: the keys alone match them, and the bytes do not."""
    words = {b"one": 1, b"two": 1, b"three": 3}

    def id_words(ids, threads):
        return np.array([words[ids[i]] for i in range(len(ids))], np.uint64)

    calls = []

    def watched(*arguments, **options):
        calls.append(settle(*arguments, **options))
        return calls[-1]

    monkeypatch.setattr(join_module, "id_words", id_words)
    monkeypatch.setattr(join_module, "settle", watched)
    rows = np.arange(2)
    joined = join(bytes_ids([b"one", b"three"]), rows, bytes_ids([b"two", b"three"]), rows, 2)
    assert calls == [False]
    assert joined.row_V.tolist() == [-1, 1]
    assert (joined.num_carried, joined.num_dropped, joined.new_rows_N.tolist()) == (1, 1, [0])

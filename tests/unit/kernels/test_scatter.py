"""Old rows in the places of their new rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.kernels.scatter import Scattering
from embsnap.kernels.take import take_ids
from embsnap.testing.vocabularies import bytes_ids, listed

UNNAMED = -2


def rows(*values):
    return np.array(values, np.int64)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(st.integers(-2, 7), st.integers(-3, 6)), max_size=30), st.integers(1, 30))
def test_against_a_dict(records, batch):
    scattering = Scattering(6, 5, UNNAMED)
    for start in range(0, len(records), batch):
        part = np.array(records[start : start + batch], np.int64)
        scattering.put(part[:, 0], part[:, 1])
    expected, out_of_range, old_out_of_range, repeated = {}, [], [], []
    for new, old in records:
        if not 0 <= new < 6:
            out_of_range.append(new)
        elif new in expected:
            repeated.append(new)
        elif not -1 <= old < 5:
            old_out_of_range.append(old)
            expected[new] = -1
        else:
            expected[new] = old
    assert scattering.row_V.tolist() == [expected.get(new, UNNAMED) for new in range(6)]
    assert scattering.num_out_of_range == len(out_of_range)
    assert scattering.out_of_range_examples == out_of_range[:5]
    assert scattering.num_old_out_of_range == len(old_out_of_range)
    assert scattering.old_out_of_range_examples == old_out_of_range[:5]
    assert scattering.num_repeated == len(repeated)
    assert scattering.repeated_examples == repeated[:5]


def test_records_of_two_lengths():
    with pytest.raises(ValueError, match="2 new rows and 1 old rows"):
        Scattering(3, 3, UNNAMED).put(rows(0, 1), rows(0))


def test_ids_in_another_order():
    order = np.array([2, 0, 0, 3])
    assert listed(take_ids(np.array([5, 6, 7, 2**64 - 1], np.uint64), order)) == [7, 5, 5, 2**64 - 1]
    assert listed(take_ids(bytes_ids([b"a", b"", b"ccc", b"dd"]), order)) == [b"ccc", b"a", b"a", b"dd"]
    assert listed(take_ids(bytes_ids([b"a"]), order[:0])) == []


@pytest.mark.parametrize("index", [-1, 2])
def test_ids_that_are_not_there(index):
    with pytest.raises(IndexError, match=r"\[0, 2\)"):
        take_ids(bytes_ids([b"a", b"b"]), np.array([0, index]))

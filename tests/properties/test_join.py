"""The id join, the row checks and the grouping by band against a few lines of Python."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.kernels import join as join_module
from embsnap.kernels import radix
from embsnap.kernels import rows as rows_module
from embsnap.kernels.gather import split_by_band
from embsnap.kernels.hashing import id_keys
from embsnap.kernels.join import join
from embsnap.kernels.rows import check_rows
from embsnap.model.vocabulary import BytesIds

INT64 = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
UINT64 = st.one_of(st.integers(0, 5), st.integers(2**63, 2**64 - 1))
BYTES = st.one_of(st.binary(max_size=2), st.text("ab", min_size=6, max_size=40).map(str.encode))


def _ids(kind, values):
    if kind is BYTES:
        return BytesIds(np.cumsum([0, *map(len, values)], dtype=np.int64), np.frombuffer(b"".join(values), np.uint8))
    return np.array(values, np.int64 if kind is INT64 else np.uint64)


@st.composite
def _cases(draw):
    kind = draw(st.sampled_from([INT64, UINT64, BYTES]))
    universe = draw(st.lists(kind, min_size=1, max_size=30))
    old, new = (draw(st.lists(st.sampled_from(universe), max_size=40)) for _ in range(2))
    num_rows = len(new) + draw(st.integers(0, 5))
    new_rows = draw(st.permutations(range(num_rows)))[: len(new)]
    old_rows = draw(st.lists(st.integers(0, 2**63 - 1), min_size=len(old), max_size=len(old)))
    counts = draw(st.lists(st.integers(0, 10**6), min_size=len(new), max_size=len(new)))
    return kind, old, old_rows, new, new_rows, num_rows, counts


def _later(values):
    """Indices of the later occurrences of what occurs several times."""
    seen = Counter()
    return [i for i, value in enumerate(values) if (seen.update([value]), seen[value])[1] > 1]


@settings(deadline=None)
@given(
    case=_cases(),
    threads=st.integers(1, 3),
    ids_per_partition=st.sampled_from([1, 5, 1000]),
    passes=st.integers(1, 3),
)
def test_join_is_what_a_dict_does(case, threads, ids_per_partition, passes):
    kind, old, old_rows, new, new_rows, num_rows, counts = case
    with (
        patch.object(join_module, "_SMALL", 0),
        patch.object(radix, "_IDS_PER_PARTITION", ids_per_partition),
    ):
        joined = join(
            _ids(kind, old),
            np.array(old_rows, np.int64),
            _ids(kind, new),
            np.array(new_rows, np.int64),
            num_rows,
            counts_N=np.array(counts, np.int64),
            passes=passes,
            threads=threads,
        )
    row_of = dict(reversed(list(zip(old, old_rows, strict=True))))
    old_later, new_later = _later(old), _later(new)
    firsts = [i for i in range(len(new)) if i not in new_later]
    carried = [i for i in firsts if new[i] in row_of]
    expected = [-1] * num_rows
    for i in carried:
        expected[new_rows[i]] = row_of[new[i]]
    fresh = sorted((new_rows[i], i) for i in firsts if new[i] not in row_of)
    keys = id_keys(_ids(kind, new))

    assert joined.row_V.tolist() == expected
    assert joined.new_rows_N.tolist() == [row for row, _ in fresh]
    assert joined.new_keys_N.tolist() == [int(keys[i]) for _, i in fresh]
    assert (joined.num_carried, joined.num_dropped) == (len(carried), len(set(old) - set(new)))
    assert (joined.carried_weight, joined.total_weight) == (sum(counts[i] for i in carried), sum(counts))
    assert (joined.old_duplicates.count, joined.old_duplicates.examples) == (len(old_later), tuple(old_later[:5]))
    assert (joined.new_duplicates.count, joined.new_duplicates.examples) == (len(new_later), tuple(new_later[:5]))


@settings(deadline=None)
@given(
    rows=st.lists(st.one_of(st.integers(-2, 30), st.integers(-(2**63), 2**40)), max_size=40),
    num_rows=st.one_of(st.none(), st.integers(0, 30)),
    dense=st.booleans(),
)
def test_row_check_is_what_sets_do(rows, num_rows, dense):
    dense = dense and max(rows, default=0) < 2**20
    with (
        patch.object(rows_module, "_BITMAP_ROWS", 2**20 if dense else 0),
        patch.object(rows_module, "_BITMAP_ROWS_PER_ENTITY", 0),
    ):
        found = check_rows(np.array(rows, np.int64), num_rows)
    limit = max([*rows, -1]) + 1 if num_rows is None else num_rows
    outside = [i for i, row in enumerate(rows) if not 0 <= row < limit]
    inside = [row for row in rows if 0 <= row < limit]
    later = [i for i in _later(rows) if i not in outside]
    taken = sorted({-1, *inside})
    gaps = [(a + 1, b) for a, b in pairwise(taken) if b > a + 1]

    assert found.max_row == max([*rows, -1])
    assert (found.num_out_of_range, found.out_of_range_examples) == (len(outside), tuple(outside[:5]))
    assert (found.num_duplicates, found.duplicate_examples) == (len(later), tuple(later[:5]))
    assert (found.num_gap_rows, found.gap_examples) == (sum(b - a for a, b in gaps), tuple(gaps[:5]))


@settings(deadline=None)
@given(
    rows=st.lists(st.integers(-3, 50), max_size=40),
    starts=st.lists(st.integers(0, 40), max_size=6).map(lambda starts: [0, *sorted(starts)]),
)
def test_bands_are_a_stable_grouping(rows, starts):
    positions, local_rows, bounds = split_by_band(np.array(rows, np.int64), np.array(starts, np.int64))
    band_of = {i: sum(start <= row for start in starts) - 1 for i, row in enumerate(rows) if row >= 0}
    expected = sorted(band_of, key=lambda i: (band_of[i], i))
    assert positions.tolist() == expected
    assert local_rows.tolist() == [rows[i] - starts[band_of[i]] for i in expected]
    assert bounds.tolist() == [sum(band < b for band in band_of.values()) for b in range(len(starts) + 1)]

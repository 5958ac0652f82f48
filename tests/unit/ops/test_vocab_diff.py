"""How two vocabularies differ, against Python's dictionaries."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.ops.vocab_diff import VocabDiffOptions, diff_vocabularies
from embsnap.testing.vocabularies import parquet_bytes

SIDE = st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=20)


@pytest.fixture
def diff(tmp_path):
    """Writes columns as files, and compares them."""

    def compare(a, b, **options):
        for name, columns in (("a", a), ("b", b)):
            (tmp_path / f"{name}.parquet").write_bytes(parquet_bytes(columns))
        return diff_vocabularies(str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"), VocabDiffOptions(**options))

    return compare


def columns(side):
    rows, counts = zip(*side.values(), strict=True)
    return {"id": list(side), "row": list(rows), "count": list(counts)}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SIDE, SIDE)
def test_the_numbers_are_those_of_dictionaries(diff, a, b):
    found = diff(columns(a), columns(b), num_shown=3)
    shared = a.keys() & b.keys()
    assert (found.num_shared, found.a.num_only, found.b.num_only) == (
        len(shared),
        len(a) - len(shared),
        len(b) - len(shared),
    )
    assert found.overlap == len(shared) / len(a.keys() | b.keys())
    assert found.num_moved == sum(a[key][0] != b[key][0] for key in shared)
    assert found.num_counts_changed == sum(a[key][1] != b[key][1] for key in shared)
    smaller = sum(min(a[key][1], b[key][1]) for key in shared)
    larger = sum(max(side.get(key, (0, 0))[1] for side in (a, b)) for key in a.keys() | b.keys())
    assert found.weighted_overlap == (smaller / larger if larger else None)
    changes = sorted((abs(a[key][1] - b[key][1]) for key in shared if a[key][1] != b[key][1]), reverse=True)
    assert [abs(mover.count_a - mover.count_b) for mover in found.top_movers] == changes[:3]
    assert [entity.count for entity in found.a.only] == sorted((a[k][1] for k in a.keys() - shared), reverse=True)[:3]
    assert found.same == (a == b)
    assert found.same_rows == ({k: v[0] for k, v in a.items()} == {k: v[0] for k, v in b.items()})


def test_order_and_files_make_no_difference(diff):
    found = diff({"id": ["x", "y"], "row": [4, 2]}, {"id": ["y", "x"], "row": [2, 4], "count": [1, 2]})
    assert (found.same, found.num_counts_changed, found.weighted_overlap) == (True, None, None)
    assert (found.a.total_count, found.b.total_count, found.b.shared_weight) == (None, 3, 1.0)


def test_of_ids_that_stand_twice_the_first_counts(diff):
    found = diff({"id": [1, 2, 2, 1], "row": [0, 1, 2, 3]}, {"id": [1, 3, 3], "row": [0, 5, 6]})
    assert (found.num_shared, found.a.num_only, found.b.num_only, found.num_moved) == (1, 1, 1, 0)
    assert [(entity.id, entity.row) for entity in (*found.a.only, *found.b.only)] == [(2, 1), (3, 5)]
    assert [(finding.kind, finding.count) for finding in found.findings] == [("duplicate-ids", 2), ("duplicate-ids", 1)]
    assert not found.same


def test_counts_beyond_int64_in_sum(diff):
    found = diff({"id": [1, 2, 3], "row": [0, 1, 2], "count": [2**63 - 1] * 3}, {"id": [1], "row": [0], "count": [1]})
    assert found.a.total_count == 3 * (2**63 - 1)


def test_ids_of_different_types_are_refused(diff):
    with pytest.raises(IncompatibleError, match=r"int64 ids, as in .*a.parquet, found string ids") as caught:
        diff({"id": [1], "row": [0]}, {"id": ["1"], "row": [0]})
    assert caught.value.kind is ErrorKind.ID_TYPE_MISMATCH


def test_an_id_that_stands_twice_counts_once(diff):
    found = diff({"id": [1, 1, 2], "row": [0, 1, 2], "count": [5, 7, 1]}, {"id": [1], "row": [0], "count": [5]})
    assert (found.a.num_entities, found.a.total_count, found.a.shared_weight) == (2, 6, 5 / 6)

"""Rows that nothing declares, and entities where none may be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.model.findings import Severity
from embsnap.ops.vocab_gaps import holes_of, taken_rows, undeclared_gaps
from embsnap.testing.vocabularies import make_vocabulary

ROWS = st.lists(st.integers(0, 40), min_size=1, max_size=30)
RANGES = st.lists(st.tuples(st.integers(0, 45), st.integers(0, 45)).filter(lambda pair: pair[0] <= pair[1]), max_size=6)


def rows_in(ranges):
    return {row for start, end in ranges for row in range(start, end)}


@settings(deadline=None)
@given(ROWS, RANGES)
def test_gaps_are_counted_as_sets_count_them(rows, ranges):
    vocabulary = make_vocabulary(list(range(len(rows))), rows)
    missing = set(range(max(rows))) - set(rows) - rows_in(ranges)
    found = undeclared_gaps(vocabulary.uri, holes_of(vocabulary.rows_N, None), ranges)
    assert sum(finding.count for finding in found) == len(missing)
    if missing:
        first = found[0].examples[0]
        assert first.startswith(f"rows [{min(missing)}, ")


@settings(deadline=None)
@given(ROWS, RANGES)
def test_taken_rows_are_counted_as_sets_count_them(rows, ranges):
    vocabulary = make_vocabulary(list(range(len(rows))), rows)
    found = taken_rows(vocabulary, ranges)
    assert sum(finding.count for finding in found) == sum(row in rows_in(ranges) for row in rows)


def test_what_it_says():
    vocabulary = make_vocabulary([7, 8, 9], [1, 5, 12])
    (gap,) = undeclared_gaps(vocabulary.uri, holes_of(vocabulary.rows_N, 10), [(0, 1), (3, 4)])
    assert (gap.severity, gap.kind, gap.count) == (Severity.ERROR, "row-gaps", 2)
    assert gap.examples == ("rows [2, 3)", "rows [4, 5)")
    (taken,) = taken_rows(vocabulary, [(0, 2), (12, 2**63)])
    assert (taken.severity, taken.count) == (Severity.ERROR, 2)
    assert taken.message == "2 entities have a row that is reserved or for OOV ids"
    assert taken.examples == ("row 1 of 7", "row 12 of 9")


def test_the_largest_rows():
    vocabulary = make_vocabulary([1, 2], [0, 2**63 - 1])
    holes = holes_of(vocabulary.rows_N, None)
    (gap,) = undeclared_gaps(vocabulary.uri, holes, [])
    assert gap.count == 2**63 - 2
    assert undeclared_gaps(vocabulary.uri, holes, [(1, 2**63 - 1)]) == []
    assert taken_rows(vocabulary, [(1, 2**63 - 1)]) == []

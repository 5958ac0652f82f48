"""Checks of one vocabulary, and the row map of two."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import Declared, IdType, Vocabulary
from embsnap.ops.vocabulary import align, check_vocabulary, fingerprint_of
from embsnap.testing.vocabularies import listed, make_vocabulary

OLD, NEW = "memory://old", "memory://new"


def refuse(old: Vocabulary, new: Vocabulary, num_old_rows: int = 100, num_new_rows: int = 100) -> IncompatibleError:
    with pytest.raises(IncompatibleError) as error:
        align(old, new, num_new_rows=num_new_rows, num_old_rows=num_old_rows)
    return error.value


def test_the_example_of_tensorflow_s_generate_vocab_remapping() -> None:
    new, old = make_vocabulary(["f0", "f1", "f2", "f3"]), make_vocabulary(["f1", "f0", "f3"])
    row_map, findings = align(old, new, num_new_rows=4, num_old_rows=3)
    offset, num = 1, 3
    remapping = row_map.row_V[offset : offset + num]
    assert remapping.tolist() == [0, -1, 2]
    assert (remapping >= 0).sum() == 2
    assert (row_map.num_carried, row_map.num_new, row_map.num_dropped) == (3, 1, 0)
    assert findings == ()


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize("threads", [1, 2])
def test_against_a_dict(id_type: IdType, threads: int) -> None:
    chance = random.Random(len(id_type))
    numbers = chance.sample(range(10_000), 700)
    kinds = {
        IdType.INT64: lambda n: n - 5000,
        IdType.UINT64: lambda n: 2**64 - 1 - n,
        IdType.STRING: "entity {}".format,
        IdType.BINARY: lambda n: n.to_bytes(3, "big"),
    }
    values = [kinds[id_type](number) for number in numbers]
    old_rows, new_rows = chance.sample(range(600), 500), chance.sample(range(900), 450)
    counts = [chance.randrange(10) for _ in new_rows]
    old = make_vocabulary(values[:500], old_rows, id_type=id_type)
    new = make_vocabulary(values[250:], new_rows, counts=counts, id_type=id_type)
    row_map, findings = align(old, new, num_new_rows=1000, num_old_rows=600, threads=threads)

    row_of = dict(zip(values[:500], old_rows, strict=True))
    expected = [-1] * 1000
    for value, row in zip(values[250:], new_rows, strict=True):
        expected[row] = row_of.get(value, -1)
    assert row_map.row_V.tolist() == expected
    assert row_map.new_rows_N.tolist() == sorted(new_rows[250:])
    assert (row_map.num_carried, row_map.num_dropped, row_map.num_old_rows) == (250, 250, 600)
    assert (row_map.carried_weight, row_map.total_weight) == (sum(counts[:250]), sum(counts))
    assert row_map.num_unoccupied == 1000 - 450
    (gap,) = findings
    assert (gap.severity, gap.kind, gap.count) == (Severity.NOTE, "row-gaps", max(new_rows) + 1 - 450)


def test_ids_of_different_types_name_both_sides() -> None:
    error = refuse(make_vocabulary(["a", "b"], uri=OLD), make_vocabulary([b"a", b"\xff"], uri=NEW))
    assert error.kind is ErrorKind.ID_TYPE_MISMATCH
    assert error.where == NEW
    assert error.expected == f"string ids as in {OLD} (such as 'a', 'b')"
    assert error.found == "binary ids (such as 0x61, 0xff)"


def test_signed_and_unsigned_ids_never_match() -> None:
    error = refuse(make_vocabulary([1]), make_vocabulary([1], id_type=IdType.UINT64))
    assert error.kind is ErrorKind.ID_TYPE_MISMATCH


@pytest.mark.parametrize("side", ["old", "new"])
def test_duplicate_ids_are_refused_on_either_side(side: str) -> None:
    twice, once = make_vocabulary([7, 8, 7, 9, 7], [0, 1, 2, 3, 4], uri="memory://twice"), make_vocabulary([7])
    error = refuse(twice, once) if side == "old" else refuse(once, twice)
    assert error.kind is ErrorKind.DUPLICATE_IDS
    assert error.where == "memory://twice"
    assert error.problem == "2 entities have an id that an earlier entity has already"
    assert error.found == "7 (row 2), 7 (row 4)"


@pytest.mark.parametrize("side", ["old", "new"])
def test_duplicate_rows_are_refused_on_either_side(side: str) -> None:
    twice, once = make_vocabulary(["a", "b", "c"], [3, 5, 3], uri="memory://twice"), make_vocabulary(["a"])
    error = refuse(twice, once) if side == "old" else refuse(once, twice)
    assert error.kind is ErrorKind.DUPLICATE_ROWS
    assert error.where == "memory://twice"
    assert error.problem == "1 entity has a row that an earlier entity has already"
    assert error.found == "row 3 of 'a' and 'c'"


def test_an_old_row_beyond_the_snapshot_s_table() -> None:
    error = refuse(make_vocabulary([1, 2], [0, 10], uri=OLD), make_vocabulary([1]), num_old_rows=10)
    assert (error.kind, error.where) == (ErrorKind.ROW_OUT_OF_RANGE, OLD)
    assert error.problem == "1 entity has a row that a table of 10 rows does not have"
    assert error.found == "row 10 of 2"
    assert error.hint == "the largest row is 10: give the vocabulary that the snapshot was trained with"


def test_a_new_row_beyond_num_embeddings() -> None:
    new = make_vocabulary([1, 2, 3], [0, 12, 11], uri=NEW)
    error = refuse(make_vocabulary([1]), new, num_new_rows=10)
    assert (error.kind, error.where) == (ErrorKind.ROW_OUT_OF_RANGE, NEW)
    assert error.found == "row 12 of 2, row 11 of 3"
    assert error.hint == "the largest row is 12: raise num_embeddings above it, or drop those entities"


def test_problems_of_both_sides_come_in_one_error() -> None:
    new = make_vocabulary([1, 2, 1], [3, 3, 4], uri=NEW)
    error = refuse(make_vocabulary([1], [50], uri=OLD), new, num_old_rows=10)
    assert (error.kind, error.found) == (ErrorKind.ROW_OUT_OF_RANGE, "row 50 of 1")
    assert f"; {NEW}: 1 entity has a row that an earlier entity has already (row 3 of 1 and 2)" in error.problem
    assert f"; {NEW}: 1 entity has an id that an earlier entity has already (1 (row 4))" in error.problem


def test_no_entity_in_common_is_refused() -> None:
    error = refuse(make_vocabulary(["a", "b"], uri=OLD), make_vocabulary(["A", "B", "C", "D"], uri=NEW))
    assert error.kind is ErrorKind.ZERO_OVERLAP
    assert error.where == NEW
    assert error.expected == f"some of the 2 ids of {OLD} (such as 'a', 'b')"
    assert error.found == "4 other ids (such as 'A', 'B', 'C')"


def test_findings_of_reading_are_passed_on() -> None:
    note = Finding(Severity.NOTE, "other-files", OLD, "1 file was not read")
    _, findings = align(
        replace(make_vocabulary([1]), findings=(note,)), make_vocabulary([1]), num_new_rows=1, num_old_rows=1
    )
    assert findings == (note,)


def test_reserved_rows_are_no_gap() -> None:
    old, new = make_vocabulary([1, 2]), make_vocabulary([1, 2, 3], [3, 4, 7])
    _, findings = align(old, new, num_new_rows=20, num_old_rows=2, reserved=(0, 3))
    assert [(finding.count, finding.examples) for finding in findings] == [(2, ("rows [5, 7)",))]
    assert align(old, new, num_new_rows=20, num_old_rows=2, reserved=(0, 7))[1] == ()
    _, findings = align(old, new, num_new_rows=20, num_old_rows=2)
    assert [finding.count for finding in findings] == [5]


def test_a_sound_vocabulary_has_no_findings() -> None:
    assert check_vocabulary(make_vocabulary(["a", "b", "c"], [2, 0, 1]), 3) == ()
    assert check_vocabulary(make_vocabulary(["a", "b", "c"], [2, 0, 1]), None) == ()
    assert check_vocabulary(make_vocabulary([]), 3) == ()


def test_all_that_is_wrong_is_found_at_once() -> None:
    vocabulary = make_vocabulary([5, 5, 7, -9, 8], [1, 9, 9, 20, 3], uri=NEW)
    found = {finding.kind: finding for finding in check_vocabulary(vocabulary, 20, reserved=(0, 3), threads=2)}
    assert {kind: (finding.count, finding.examples) for kind, finding in found.items()} == {
        "duplicate-ids": (1, ("5 (row 9)",)),
        "row-out-of-range": (1, ("row 20 of -9",)),
        "duplicate-rows": (1, ("row 9 of 5 and 7",)),
        "row-gaps": (5, ("rows [4, 9)",)),
    }
    assert all(finding.severity is Severity.ERROR and finding.place == NEW for finding in found.values())


def test_gaps_inside_around_and_beside_reserved_rows() -> None:
    vocabulary = make_vocabulary([1, 2, 3], [4, 10, 5])
    (finding,) = check_vocabulary(vocabulary, 100, reserved=(2, 7))
    assert (finding.count, finding.examples) == (5, ("rows [0, 2)", "rows [7, 10)"))
    assert finding.message == "5 rows have no entity, while later rows have one"


def test_ids_are_shown_as_people_write_them() -> None:
    for ids, text in (([b"\0\xfe"] * 2, "0x00fe"), (["a\x1b\n"] * 2, r"'a\x1b\n'"), ([2**64 - 1] * 2, str(2**64 - 1))):
        id_type = IdType.UINT64 if isinstance(ids[0], int) else None
        finding = check_vocabulary(make_vocabulary(ids, id_type=id_type), None)[0]
        assert finding.examples == (f"{text} (row 1)",)
    (finding,) = check_vocabulary(make_vocabulary(["x" * 500] * 2), None)
    assert len(finding.examples[0]) < 100


def test_the_fingerprint_ignores_order_and_sees_any_change() -> None:
    first = fingerprint_of(make_vocabulary(["a", "b", "c"], [0, 1, 2]))
    assert first.startswith("v1:string:3:")
    assert fingerprint_of(make_vocabulary(["c", "a", "b"], [2, 0, 1]), threads=2) == first
    assert fingerprint_of(make_vocabulary(["c", "a", "b"], [0, 1, 2])) != first
    assert fingerprint_of(make_vocabulary([b"a", b"b", b"c"], [0, 1, 2])) != first
    assert listed(make_vocabulary(["a"]).ids) == [b"a"]


def test_rows_that_a_vocabulary_declares_are_no_gap() -> None:
    declared = Declared(num_rows=8, reserved=((0, 1),), oov=(1, 3), free=((4, 5),))
    new = replace(make_vocabulary([1, 2], [3, 5]), declared=declared)
    old = make_vocabulary([1, 2])
    assert [finding.kind for finding in align(old, new, num_new_rows=8, num_old_rows=2)[1]] == []
    undeclared = replace(new, declared=replace(declared, free=()))
    (note,) = align(old, undeclared, num_new_rows=8, num_old_rows=2)[1]
    assert (note.kind, note.severity, note.count) == ("row-gaps", Severity.NOTE, 1)

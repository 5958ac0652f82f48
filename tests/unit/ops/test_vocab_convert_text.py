"""Text vocabularies, CSV and TSV of any make: what they mean, and what is in doubt."""

from __future__ import annotations

import itertools

import pytest

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.model.vocabulary import IdType
from embsnap.ops.vocab_convert import plan_conversion
from embsnap.ops.vocab_formats import ConvertOptions
from embsnap.testing.vocabularies import listed, put

_numbers = itertools.count()


@pytest.fixture
def root():
    return f"memory://text{next(_numbers)}"


def read(uri, **options):
    return plan_conversion(uri, None, ConvertOptions(**options)).vocabulary


@pytest.mark.parametrize(
    ("text", "id_type", "ids"),
    [
        ("id,row\n7,0\n8,1\n", IdType.INT64, [7, 8]),
        ("\ufeffROW,Id\r\n0,7\r\n1,8\r\n", IdType.INT64, [7, 8]),
        ("id,row\n7,0\n18446744073709551615,1\n", IdType.UINT64, [7, 2**64 - 1]),
        ("id,row\n007,0\n8,1\n", IdType.STRING, [b"007", b"8"]),
        ("id,row\n7,0\n,1\n", IdType.STRING, [b"7", b""]),
        ("id,row\n-1,0\n18446744073709551615,1\n", IdType.STRING, [b"-1", b"18446744073709551615"]),
        ('"id","row"\n"7",0\n"8",1', IdType.STRING, [b"7", b"8"]),
        ('id,row\n"a",0\n"b",1', IdType.STRING, [b"a", b"b"]),
    ],
)
def test_types_of_ids_in_csv(root, text, id_type, ids):
    vocabulary = read(put(f"{root}/v.csv", text.encode()))
    assert (vocabulary.id_type, listed(vocabulary.ids), vocabulary.rows_N.tolist()) == (id_type, ids, [0, 1])


def test_quotes_everywhere_do_not_tell_text_from_numbers(root):
    uri = put(f"{root}/v.csv", b'"id","row"\n"7","0"\n')
    error = refused(uri)
    assert "does not tell whether its ids are text or numbers" in error.problem
    assert "--id-type" in error.hint
    assert listed(read(uri, id_type=IdType.INT64).ids) == [7]
    assert listed(read(uri, id_type=IdType.STRING).ids) == [b"7"]


def test_other_columns_are_noted(root):
    plan = plan_conversion(put(f"{root}/v.csv", b"id,name,row\n7,x,0\n"))
    (note,) = plan.result.findings
    assert (note.kind, note.examples) == ("other-columns", ("name",))


def refused(uri, **options):
    with pytest.raises(IncompatibleError) as error:
        read(uri, **options)
    return error.value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "the vocabulary is empty"),
        (b"id,row\n", "the vocabulary is empty"),
        (b"7,0\n8,1\n", "has no header"),
        (b"id,row,row\n7,0,0\n", "has no header"),
        (b"id,row\n7\n", "cannot be read"),
        (b"id,row\n7,x\n", "cannot be read"),
        (b"id,row\n7,\n", "cannot be read"),
        (b"id,row\n7,1.5\n", "cannot be read"),
        (b"id,row\n7,9223372036854775808\n", "cannot be read"),
        (b"id,row\n\xff,0\n", "cannot be read"),
        (b"id,row\n7,-1\n", "has a negative row"),
        (b"id,row,count\n7,1,-1\n", "has a negative count"),
    ],
)
def test_csv_that_is_no_vocabulary(root, text, problem):
    error = refused(put(f"{root}/v.csv", text))
    assert error.kind is ErrorKind.BAD_VOCABULARY
    assert problem in error.problem


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a\n\nb\n", "nothing in line 2"),
        (b"a\nb\n\n", "nothing in line 3"),
        (b"a\r\nb\n", "one in line 1"),
        (b"a\nb\rc\n", "one in line 2"),
        (b"\xef\xbb\xbfa\n", "it in line 1"),
        (b"a\n\xff\n", None),
    ],
)
def test_lines_that_are_in_doubt(root, text, found):
    error = refused(put(f"{root}/v.txt", text))
    assert error.kind is ErrorKind.BAD_VOCABULARY
    assert found is None or error.found == found


def test_lines_that_end_in_returns(root):
    plan = plan_conversion(put(f"{root}/v.txt", b"a\r\nbc\r\n"))
    assert listed(plan.vocabulary.ids) == [b"a", b"bc"]
    assert [finding.kind for finding in plan.result.findings] == ["carriage-returns"]


def test_a_last_line_without_an_end(root):
    assert listed(read(put(f"{root}/v.txt", b"a\nb")).ids) == [b"a", b"b"]


def test_lines_that_are_no_numbers(root):
    error = refused(put(f"{root}/v.txt", b"1\n02\n"), id_type=IdType.INT64)
    assert error.found == "'02' in line 2"
    assert refused(put(f"{root}/w.txt", b"1\n-2\n"), id_type=IdType.UINT64).found == "'-2' in line 2"


def test_duplicates_are_refused(root):
    assert refused(put(f"{root}/v.txt", b"a\na\n")).kind is ErrorKind.DUPLICATE_IDS
    assert refused(put(f"{root}/v.csv", b"id,row\n1,0\n2,0\n")).kind is ErrorKind.DUPLICATE_ROWS

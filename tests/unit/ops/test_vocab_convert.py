"""Vocabularies from and to what other systems keep: round trips, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embsnap.errors import ErrorKind, IncompatibleError, RefusedError, UsageError
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.vocab_conversion import VocabFormat
from embsnap.model.vocabulary import Declared, IdType
from embsnap.ops.vocab_convert import plan_conversion, write_conversion
from embsnap.ops.vocab_formats import ConvertOptions
from embsnap.storage.uri import open_store, split_uri
from embsnap.testing.vocabularies import listed, make_vocabulary, parquet_bytes, put

_numbers = itertools.count()


@pytest.fixture
def root():
    return f"memory://convert{next(_numbers)}"


def convert(uri, out, **options):
    options = ConvertOptions(**options)
    return write_conversion(plan_conversion(uri, out, options), out)


def text_at(uri):
    location, name = split_uri(uri)
    return open_store(location).read(name, limit=1 << 20).decode()


def entities(vocabulary):
    counts = [None] * len(vocabulary) if vocabulary.counts_N is None else vocabulary.counts_N.tolist()
    rows = vocabulary.rows_N.tolist()
    return vocabulary.id_type, sorted(zip(rows, listed(vocabulary.ids), counts, strict=True))


def round_trip(vocabulary, suffix, back=None, **forth):
    """To a format and back to parquet."""
    place = f"memory://trip{next(_numbers)}"
    start = write_vocabulary(vocabulary, f"{place}/start.parquet")
    convert(start, f"{place}/{suffix}", **forth)
    convert(f"{place}/{suffix}", f"{place}/end.parquet", **(back or {}))
    return read_vocabulary(f"{place}/end.parquet")


IDS = {
    IdType.INT64: st.integers(-(2**63), 2**63 - 1),
    IdType.UINT64: st.integers(0, 2**64 - 1),
    IdType.STRING: st.text(max_size=8).filter(lambda text: text.isprintable() or not text.isspace()),
    IdType.BINARY: st.binary(max_size=8),
}


@st.composite
def vocabularies(draw, id_type, rows="any", ids=None):
    found = draw(st.lists(IDS[id_type] if ids is None else ids, min_size=1, max_size=8, unique=True))
    if rows == "any":
        numbers = draw(st.lists(st.integers(0, 50), min_size=len(found), max_size=len(found), unique=True))
    else:
        numbers = draw(st.permutations(range(rows, rows + len(found))))
    counts = draw(st.none() | st.lists(st.integers(0, 99), min_size=len(found), max_size=len(found)))
    return make_vocabulary(found, numbers, counts=counts, id_type=id_type)


few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(vocabularies(IdType.STRING, ids=st.text(max_size=6)), st.sampled_from(["v.csv", "v.tsv"]))
def test_text_through_csv(vocabulary, name):
    """Quotes, delimiters, line breaks, numbers as text and the empty id among them."""
    assert entities(round_trip(vocabulary, name)) == entities(vocabulary)


@few
@given(
    vocabularies(IdType.STRING, ids=st.sampled_from(["7", "007", "-1", "", '"', '""', ",", "a\tb", "\r\n", "é", "x"]))
)
def test_awkward_text_through_csv(vocabulary):
    assert entities(round_trip(vocabulary, "v.csv")) == entities(vocabulary)


@few
@given(vocabularies(IdType.INT64), st.sampled_from(["v.csv", "v.tsv"]))
def test_numbers_through_csv(vocabulary, name):
    assert entities(round_trip(vocabulary, name)) == entities(vocabulary)


@few
@given(vocabularies(IdType.UINT64))
def test_unsigned_numbers_through_csv(vocabulary):
    assert entities(round_trip(vocabulary, "v.csv", back={"id_type": IdType.UINT64})) == entities(vocabulary)


lines = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=6)


@few
@given(vocabularies(IdType.STRING, rows=0, ids=lines.filter(lambda text: not text.startswith("\ufeff"))))
def test_text_through_lines(vocabulary):
    back = round_trip(vocabulary, "v.txt")
    without_counts = [(row, entity, None) for row, entity, _ in entities(vocabulary)[1]]
    assert entities(back) == (IdType.STRING, without_counts)


@few
@given(vocabularies(IdType.INT64, rows=0))
def test_numbers_through_lines(vocabulary):
    back = round_trip(vocabulary, "v.txt", back={"id_type": IdType.INT64})
    assert [entry[:2] for entry in entities(back)[1]] == [entry[:2] for entry in entities(vocabulary)[1]]


@few
@pytest.mark.parametrize("id_type", list(IdType))
@given(data=st.data(), first=st.integers(3, 9))
def test_through_nvtabular(id_type, data, first):
    vocabulary = data.draw(vocabularies(id_type, rows=first))
    back = round_trip(vocabulary, "cats", target=VocabFormat.NVTABULAR, column="user")
    assert entities(back) == entities(vocabulary)
    assert (back.declared.reserved, back.declared.oov) == (((0, 2),), (2, first))


def test_many_through_each(root):
    """More than one batch of each writer."""
    count = 300_000
    order = np.random.default_rng(0).permutation(count)
    vocabulary = make_vocabulary([f"id {i}" for i in range(count)], order, counts=order.tolist())
    expected = entities(vocabulary)
    assert entities(round_trip(vocabulary, "v.csv")) == expected
    assert [entry[:2] for entry in entities(round_trip(vocabulary, "v.txt"))[1]] == [e[:2] for e in expected[1]]


def test_what_csv_looks_like(root):
    text = make_vocabulary(["a,b", 'say "x"', "7"], [2, 0, 1], counts=[1, 2, 3])
    write_vocabulary(text, f"{root}/text.parquet")
    convert(f"{root}/text.parquet", f"{root}/text.csv")
    assert text_at(f"{root}/text.csv") == 'id,row,count\n"say ""x""",0,2\n"7",1,3\n"a,b",2,1\n'
    write_vocabulary(make_vocabulary([7, -8], [1, 5]), f"{root}/numbers.parquet")
    convert(f"{root}/numbers.parquet", f"{root}/numbers.tsv")
    assert text_at(f"{root}/numbers.tsv") == "id\trow\n7\t1\n-8\t5\n"


def test_what_lines_look_like(root):
    write_vocabulary(make_vocabulary(["b", "é", "a b"], [1, 2, 0]), f"{root}/v.parquet")
    convert(f"{root}/v.parquet", f"{root}/v.txt")
    assert text_at(f"{root}/v.txt") == "a b\nb\né\n"


@pytest.mark.parametrize(
    ("vocabulary", "name", "found"),
    [
        (make_vocabulary(["a", "b"], [0, 2]), "v.txt", "row 2 where line 2 stands for row 1"),
        (make_vocabulary(["a", "b"], [1, 2]), "v.txt", "row 1 where line 1 stands for row 0"),
        (make_vocabulary(["a", "b\nc"]), "v.txt", "'b\\nc' in row 1"),
        (make_vocabulary(["", "b"]), "v.txt", "'' in row 0"),
        (make_vocabulary(["\ufeffa"]), "v.txt", "it in row 0"),
        (make_vocabulary([b"a"]), "v.txt", "binary"),
        (make_vocabulary([b"a"]), "v.csv", "binary"),
    ],
)
def test_what_text_cannot_hold(root, vocabulary, name, found):
    write_vocabulary(vocabulary, f"{root}/v.parquet")
    with pytest.raises(IncompatibleError) as error:
        convert(f"{root}/v.parquet", f"{root}/{name}")
    assert (error.value.kind, error.value.found) == (ErrorKind.NOT_REPRESENTABLE, found)
    assert open_store(root).stat(name) is None


def test_what_text_does_not_tell_is_noted(root):
    write_vocabulary(make_vocabulary([7, 8], counts=[1, 2], id_type=IdType.UINT64), f"{root}/v.parquet")
    lines, table = (plan_conversion(f"{root}/v.parquet", f"{root}/v.{suffix}").result for suffix in ("txt", "csv"))
    assert [finding.message for finding in lines.findings] == [
        "not written: counts",
        "the file does not tell that ids are uint64",
    ]
    assert [finding.remedy for finding in table.findings] == ["read it again with --id-type uint64"]


@pytest.mark.parametrize(
    ("suffix", "options"), [("v.csv", {}), ("d", {"target": VocabFormat.NVTABULAR, "column": "c"})]
)
def test_rows_that_a_format_does_not_tell_are_noted(root, suffix, options):
    declared = Declared(num_rows=9, reserved=((0, 2),), oov=(2, 3), free=((5, 9),))
    start = write_vocabulary(replace(make_vocabulary(["a", "b"], [3, 4]), declared=declared), f"{root}/v.parquet")
    findings = plan_conversion(start, f"{root}/{suffix}", ConvertOptions(**options)).result.findings
    expected = ["not written: free rows that it declares", "not written: that its table has 9 rows, and not 5"]
    assert [finding.message for finding in findings][-2:] == expected
    assert not plan_conversion(start).result.findings


def test_donors_come_along(root):
    start = write_vocabulary(replace(make_vocabulary([7, 8]), donors=make_vocabulary([7, 3]).ids), f"{root}/v.parquet")
    convert(start, f"{root}/end.parquet")
    assert listed(read_vocabulary(f"{root}/end.parquet", donor_column="donor").donors) == [7, 3]
    assert [f.message for f in plan_conversion(start, f"{root}/v.csv").result.findings] == ["not written: donors"]


def test_another_column_of_that_name_is_ignored(root):
    uri = put(f"{root}/v.parquet", parquet_bytes({"id": [7], "row": [0], "donor": ["x"]}))
    assert plan_conversion(uri).vocabulary.donors is None


def test_a_taken_destination(root):
    write_vocabulary(make_vocabulary([7]), f"{root}/v.parquet")
    for name in ("v.csv", "v.txt", "w.parquet"):
        convert(f"{root}/v.parquet", f"{root}/{name}")
        with pytest.raises(RefusedError) as error:
            convert(f"{root}/v.parquet", f"{root}/{name}")
        assert error.value.kind is ErrorKind.DESTINATION_TAKEN


@pytest.mark.parametrize(
    ("out", "options", "where"),
    [
        ("v", {}, "--out"),
        (None, {"target": VocabFormat.ZCH}, "--to zch"),
        ("d", {"target": VocabFormat.NVTABULAR}, "--to nvtabular"),
        ("d", {"target": VocabFormat.NVTABULAR, "column": "a/b"}, "--column"),
        ("v.csv", {"column": "user"}, "--column"),
        ("v.csv", {"source": VocabFormat.PARQUET, "table": "user"}, "--table"),
        ("v.csv", {"id_type": IdType.INT64}, "--id-type"),
    ],
)
def test_options_that_mean_nothing(root, out, options, where):
    write_vocabulary(make_vocabulary([7]), f"{root}/v.parquet")
    with pytest.raises(UsageError) as error:
        plan_conversion(f"{root}/v.parquet", out and f"{root}/{out}", ConvertOptions(**options))
    assert error.value.kind is ErrorKind.BAD_OPTION
    assert error.value.where.startswith(where)


def test_provenance_of_another_make_is_passed_over(root):
    declared = Declared(num_rows=1, provenance={"options": 3})
    start = write_vocabulary(replace(make_vocabulary([7]), declared=declared), f"{root}/v.parquet")
    assert plan_conversion(start).vocabulary.declared.provenance["options"] == {"from": "parquet"}


def test_provenance_is_written(root):
    convert(put(f"{root}/v.csv", b"id,row\n7,0\n"), f"{root}/v.parquet")
    declared = read_vocabulary(f"{root}/v.parquet").declared
    assert declared.provenance["inputs"] == [{"uri": f"{root}/v.csv"}]
    assert declared.provenance["options"] == {"from": "csv"}

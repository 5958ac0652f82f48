"""Ids that are almost equal."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.model.findings import Severity
from embsnap.ops import vocab_lookalikes
from embsnap.ops.vocab_lookalikes import look_alikes
from embsnap.testing.vocabularies import make_vocabulary


def differences(ids):
    return {
        finding.message.split(" only in ")[1]: (finding.count, finding.examples)
        for finding in look_alikes(make_vocabulary(ids))
    }


def test_each_way_is_told_apart():
    assert differences(["a", "a ", "B", "b", "0042", "42", " x\t y", "X y", "left", "alone", "0", "000"]) == {
        "white space": (1, ("'a' and 'a '",)),
        "upper and lower case": (1, ("'B' and 'b'",)),
        "zeros before a number": (2, ("'0042' and '42'", "'0' and '000'")),
        "several of white space, case and zeros": (1, (r"' x\t y' and 'X y'",)),
    }


def test_they_are_warnings_with_a_remedy():
    (finding,) = look_alikes(make_vocabulary(["É", "é"]))
    assert (finding.severity, finding.kind, finding.count) == (Severity.WARNING, "look-alike-ids", 1)
    assert finding.message == "1 id differs from an earlier one only in upper and lower case"
    assert finding.remedy


def test_equal_ids_do_not_look_alike():
    """They are duplicates, which is another finding."""
    assert differences(["a", "a", "A!", "A!"]) == {}


def test_what_is_no_number_keeps_its_zeros():
    assert differences(["0x1", "x1", "00a", "0a", "0.5", "00.5", "-07", "-7"]) == {}


def test_other_types_and_no_ids_have_none():
    assert look_alikes(make_vocabulary([1, 10])) == ()
    assert look_alikes(make_vocabulary([b"a", b"A"])) == ()
    assert look_alikes(make_vocabulary(["a"] * 0)) == ()


def plain(text):
    text = re.sub(r"[ \t]+", " ", text.strip()).lower()
    return re.sub(r"^0+([0-9])", r"\1", text) if re.fullmatch("[0-9]+", text) else text


@settings(deadline=None)
@given(st.lists(st.text("aA0 1\t", max_size=5), max_size=40), st.sampled_from([1, 3]))
def test_as_many_as_python_finds(ids, threads):
    seen, expected = {}, 0
    for text in ids:
        expected += seen.setdefault(plain(text), text) != text
    findings = look_alikes(make_vocabulary(ids) if ids else make_vocabulary(["a"]), threads=threads)
    assert sum(finding.count for finding in findings) == expected


def test_blocks_make_no_difference(monkeypatch):
    ids = [f"{prefix}{i:03}" for prefix in ("user", "USER", "item") for i in range(50)] + ["001", "1"]
    whole = look_alikes(make_vocabulary(ids))
    monkeypatch.setattr(vocab_lookalikes, "_BLOCK", 7)
    assert look_alikes(make_vocabulary(ids), threads=2) == whole
    assert [finding.count for finding in whole] == [50, 1]

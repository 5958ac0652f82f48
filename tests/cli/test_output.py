"""Results as text and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.cli.escaping import printable
from embsnap.cli.output import emit, format_bytes, jsonable, renders, table, to_json, to_text, write_findings
from embsnap.model.findings import Finding, Severity


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    share: float
    digest: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    schema: ClassVar[str] = "embsnap.shown"
    schema_version: ClassVar[int] = 3
    name: str
    colour: Colour
    inner: tuple[Inner, ...]


@renders(Shown)
def _render(result, write):
    write(f"name {result.name}")
    write("second line")


_SHOWN = Shown("a\x1b[2J", Colour.RED, (Inner(math.inf, b"\x00\xff"), Inner(0.5, b"")))


def test_json_has_schema_and_version_first_then_the_fields():
    assert list(json.loads(to_json(_SHOWN)).items()) == [
        ("schema", "embsnap.shown"),
        ("version", 3),
        ("name", "a\x1b[2J"),
        ("colour", "red"),
        ("inner", [{"share": "Infinity", "digest": "00ff"}, {"share": 0.5, "digest": ""}]),
    ]


def test_text_cannot_drive_the_terminal():
    assert to_text(_SHOWN) == "name a\\x1b[2J\nsecond line"


@pytest.mark.parametrize(("as_json", "first"), [(True, "{"), (False, "name a\\x1b[2J")])
def test_emit_writes_to_stdout(capsys, as_json, first):
    emit(_SHOWN, as_json=as_json)
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == first
    assert (captured.out[-1], captured.err) == ("\n", "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), "NaN"),
        (np.int64(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (ml_dtypes.bfloat16(1.5), 1.5),
        ({"b": (1, None), 2: {3}}, {"b": [1, None], "2": [3]}),
        (memoryview(b"\x01"), "01"),
        (frozenset({"b", "a"}), ["a", "b"]),
        (range(2), [0, 1]),
    ],
)
def test_values_that_json_lacks(value, expected):
    result = jsonable(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("value", [object(), np.zeros(2), Shown, 1j])
def test_what_has_no_form_in_json_is_refused(value):
    with pytest.raises(TypeError, match="no form in JSON"):
        jsonable(value)


def test_a_table_aligns_numbers_right_and_cuts_nothing():
    long = "n" * 300
    assert table([["user", 1234567, 0.5, None], [long, 1, 12.25, "a\nb"]], ["name", "rows", "share", "note"]) == [
        f"{'name':<300}       rows  share  note",
        f"{'user':<300}  1,234,567    0.5  -",
        f"{long}          1  12.25  a\\nb",
    ]


def test_a_table_without_rows_is_its_headers():
    assert table([], ["a", "b"]) == ["a  b"]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="zip"):
        table([["a"]], ["one", "two"])


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 * 2**20, "1.5 GiB"), (2**61, "2048.0 PiB")],
)
def test_bytes_for_people(num_bytes, text):
    assert format_bytes(num_bytes) == text


def test_findings_come_severest_first_with_examples_and_remedy():
    lines = []
    write_findings(
        [
            Finding(Severity.NOTE, "opaque", "a", "an opaque entry"),
            Finding(Severity.ERROR, "gap", "b\x1b", "3 rows are covered by nothing", "write it anew", 3, ("1", "7")),
        ],
        lines.append,
    )
    assert lines == [
        "error: b\\x1b: 3 rows are covered by nothing [gap]",
        "  e.g. 1, 7",
        "  try: write it anew",
        "note: a: an opaque entry [opaque]",
    ]


@given(st.text())
def test_printable_text_is_printable_and_can_be_told_apart(text):
    shown = printable(text)
    assert shown.isprintable() or any(char.isspace() or not char.isprintable() for char in text)
    assert not any(char in shown for char in "\x1b\n\r\t\x7f\x9b\u202e\u200b\u2028")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("user", "user"), ("Größe 表", "Größe 表"), ("\U0001f600", "\U0001f600"), ("\ud800", "\\ud800"), ("\t", "\\t")],
)
def test_what_is_visible_stays(text, shown):
    assert printable(text) == shown

from __future__ import annotations

import pytest

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.primitives import parse_primitive
from embsnap.model.manifest import PrimitiveEntry


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "7", 7),
        ("int", "1267650600228229401496703205376", 2**100),
        ("str", "h\u00e9/llo %2F\n: [x]", "h\u00e9/llo %2F\n: [x]"),
        ("bool", "True", True),
        ("bool", "False", False),
        ("bytes", "AP8B", b"\x00\xff\x01"),
        ("float", "mpmZmZmZuT8=", 0.1),
        ("float", "AAAAAAAA8H8=", float("inf")),
    ],
)
def test_values(kind, text, value):
    assert parse_primitive(PrimitiveEntry(kind, text, False, None), where="0/x") == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "seven"),
        ("int", "9" * 5000),
        ("bool", "yes"),
        ("bytes", "not base64"),
        ("bytes", "é"),
        ("float", "AP8B"),
        ("float", "0.5"),
    ],
)
def test_a_text_that_is_not_of_its_type(kind, text):
    with pytest.raises(SnapshotError) as caught:
        parse_primitive(PrimitiveEntry(kind, text, False, None), where="0/x")
    assert (caught.value.kind, caught.value.where, caught.value.expected) == (ErrorKind.BAD_ENTRY, "0/x", kind)

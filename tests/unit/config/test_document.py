from __future__ import annotations

import pytest

from embsnap.config import document
from embsnap.config.document import read_document
from embsnap.errors import ErrorKind, UsageError


def _read(text: str) -> object:
    return read_document(text, where="a.yaml").data


def _bomb(first: str, level: str) -> str:
    lines = [f"a0: &a0 {first}"]
    for i in range(1, 9):
        lines.append(f"a{i}: &a{i} " + level % ", ".join([f"*a{i - 1}"] * 10))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: 424_241", {"a": 424241}),
        ("a: 0x10", {"a": 16}),
        ("a: 1.5", {"a": 1.5}),
        ("a: 1e-3", {"a": "1e-3"}),
        ("a: yes", {"a": True}),
        ("a: ~", {"a": None}),
        ("a: 2:10", {"a": "2:10"}),
        ("a: 1:30.5", {"a": "1:30.5"}),
        ("a: 2023-01-23", {"a": "2023-01-23"}),
        ("b: &b {x: 1, y: 2}\na: {<<: *b, y: 3}", {"b": {"x": 1, "y": 2}, "a": {"x": 1, "y": 3}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("", None),
        ("# only a comment", None),
    ],
)
def test_values(text: str, data: object) -> None:
    assert _read(text) == data


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", r"the key 'a' stands twice \(line 3, column 1\); first here \(line 1, column 1\)"),
        ("x: {a: 1, a: 1}", r"the key 'a' stands twice \(line 1"),
        ("a: [1", r"expected ',' or '\]'.*\(line 1, column 6\)"),
        ("a: b: c", "mapping values are not allowed here"),
        ("--- 1\n--- 2", "but found another document"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("[1, 2]: x", "a key must be a plain value"),
        ("a: &a [1, *a]", "an alias stands inside of what it names"),
        ("a: &a {b: *a}", "an alias stands inside of what it names"),
        ("a: *nowhere", "undefined alias"),
        ("a: \x07", "special characters are not allowed"),
        ("a: " + "9" * 5000, "is not valid YAML: Exceeds the limit"),
        (_bomb("[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", "[%s]"), "its aliases expand to over 1,000,000 values"),
        (_bomb("{k: 1, l: 2}", "{<<: [%s]}"), "its aliases expand to over 1,000,000 values"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("{a: " * 100, "nested deeper than 64 levels"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as error:
        _read(text)
    assert error.value.kind is ErrorKind.BAD_CONFIG
    assert error.value.where == "a.yaml"
    assert error.value.expected == "one YAML document with a config in it"


def test_length_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_CHARACTERS", 10)
    assert _read("a: 1234567") == {"a": 1234567}
    with pytest.raises(UsageError, match=r"too long for a config \(11 characters, at most 10\)"):
        _read("a: 12345678")


def test_depth_up_to_the_bound() -> None:
    data = _read("[" * document.MAX_DEPTH + "]" * document.MAX_DEPTH)
    for _ in range(document.MAX_DEPTH - 1):
        assert isinstance(data, list)
        (data,) = data
    assert data == []


LINES = """\
base: &base {x: 1}
a:
  b:
    - 1
    - k: 2
      c: 3
d:
  own: 1
  <<: *base
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("a",), 2),
        (("a", "b", 1), 5),
        (("a", "b", 1, "c"), 6),
        (("a", "b", 1, "missing"), 5),
        (("a", "b", 9), 3),
        (("d", "own"), 8),
        (("d", "x"), 1),
        (("nowhere",), None),
        ((), None),
    ],
)
def test_lines(place: tuple[str | int, ...], line: int | None) -> None:
    assert read_document(LINES, where="a.yaml").line(place) == line

from __future__ import annotations

import pytest

from embsnap.config.places import Place, mappings, render_place, resolve_place

DATA = {"model": {"a.b": {"c": 1}, "a": {"b": {"d": 2}}, "list": [{"x": 3}, [4]]}, "none": None}


@pytest.mark.parametrize(
    ("text", "place", "value"),
    [
        (".", (), DATA),
        ("", (), DATA),
        ("model.a.b.c", ("model", "a.b", "c"), 1),
        ("model.a.b.d", ("model", "a", "b", "d"), 2),
        ("model.list[0].x", ("model", "list", 0, "x"), 3),
        ("model.list.0.x", ("model", "list", 0, "x"), 3),
        ("model.list[1][0]", ("model", "list", 1, 0), 4),
        ("none", ("none",), None),
    ],
)
def test_what_is_there(text: str, place: Place, value: object) -> None:
    assert resolve_place(DATA, text) == (place, value)


@pytest.mark.parametrize(
    "text", ["mod", "model.a.e", "model.list[2]", "model.list.x", "none.x", "model[0]", "model.list[-1]"]
)
def test_what_is_not_there(text: str) -> None:
    assert resolve_place(DATA, text) is None


def test_what_is_rendered_is_resolved() -> None:
    data = {"x.y": [{"z": {"0": {}}}, {"w": [[{}]]}], "x": {}}
    for place, value in mappings(data):
        assert resolve_place(data, render_place(place)) == (place, value)


def test_control_characters_in_keys_are_shown_escaped() -> None:
    assert render_place(("a\nb", 0)) == "'a\\nb'[0]"


def test_mappings_come_from_the_root_down_and_shared_ones_once() -> None:
    shared = {"s": 1}
    data = {"a": [shared, {"deep": shared}], "b": shared}
    assert [place for place, _ in mappings(data)] == [(), ("b",), ("a", 1)]

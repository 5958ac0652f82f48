"""docs/configuration.md names every field, and its examples are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.load import parse_large_embeddings
from embsnap.config.schema import schema_json

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", _blocks("yaml"))
def test_yaml_is_valid(block: str) -> None:
    assert parse_large_embeddings(block, where="docs/configuration.md", at=".", environ={}).tables


def test_python_runs() -> None:
    for block in _blocks("python"):
        names: dict[str, object] = {}
        exec(compile(block, "docs/configuration.md", "exec"), names)
        assert isinstance(names["config"], LargeEmbeddingsConfig)


def test_every_field_and_every_choice_is_named() -> None:
    named = set(re.findall(r"`([^`\n]+)`", PAGE))
    for model in schema_json()["$defs"].values():
        assert {*model.get("properties", ()), *model.get("enum", ())} <= named, model["title"]


def test_there_are_examples() -> None:
    assert len(_blocks("yaml")) >= 3
    assert len(_blocks("python")) == 1

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embsnap.config.document import read_document
from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.load import find
from embsnap.config.places import resolve_place
from embsnap.config.schema import schema_json

CONFIGS = Path(__file__).parents[2] / "data" / "configs"
SCHEMA = schema_json()
ANNOTATIONS = {"title", "description", "default", "$schema", "$defs"}
TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def _items(array: Any) -> list[Any]:
    return array if isinstance(array, list) else []


def _keys(mapping: Any) -> dict[str, Any]:
    return mapping if isinstance(mapping, dict) else {}


KEYWORDS: dict[str, Callable[[Any, Any, dict[str, Any]], bool]] = {
    "$ref": lambda ref, value, _: accepts(SCHEMA["$defs"][ref.removeprefix("#/$defs/")], value),
    "type": lambda names, value, _: any(TYPES[name](value) for name in ([names] if isinstance(names, str) else names)),
    "enum": lambda choices, value, _: value in choices,
    "anyOf": lambda schemas, value, _: any(accepts(schema, value) for schema in schemas),
    "oneOf": lambda schemas, value, _: sum(accepts(schema, value) for schema in schemas) == 1,
    "allOf": lambda schemas, value, _: all(accepts(schema, value) for schema in schemas),
    "not": lambda schema, value, _: not accepts(schema, value),
    "required": lambda names, value, _: all(name in _keys(value) for name in names),
    "properties": lambda properties, value, _: all(
        accepts(properties[key], item) for key, item in _keys(value).items() if key in properties
    ),
    "additionalProperties": lambda allowed, value, schema: (
        allowed or _keys(value).keys() <= schema.get("properties", {}).keys()
    ),
    "items": lambda schema, value, _: all(accepts(schema, item) for item in _items(value)),
    "prefixItems": lambda schemas, value, _: all(map(accepts, schemas, _items(value))),
    "minItems": lambda least, value, _: len(_items(value)) >= least,
    "maxItems": lambda most, value, _: len(_items(value)) <= most,
    "minLength": lambda least, value, _: not isinstance(value, str) or len(value) >= least,
    "pattern": lambda pattern, value, _: not isinstance(value, str) or re.search(pattern, value) is not None,
    "minimum": lambda bound, value, _: not TYPES["number"](value) or value >= bound,
    "exclusiveMinimum": lambda bound, value, _: not TYPES["number"](value) or value > bound,
    "exclusiveMaximum": lambda bound, value, _: not TYPES["number"](value) or value < bound,
}
"""What of JSON Schema is in use; another keyword is a KeyError."""


def accepts(schema: dict[str, Any], value: Any) -> bool:
    checks = {name: argument for name, argument in schema.items() if name not in ANNOTATIONS}
    return all(KEYWORDS[name](argument, value, schema) for name, argument in checks.items())


def _config(name: str) -> dict[str, Any]:
    """A config as editors see it, where `1e-3` is a number."""
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").replace("1e-", "1.0e-")
    at = find(LargeEmbeddingsConfig, text, where=name, environ={}).at
    found = resolve_place(read_document(text, where=name).data, at)
    assert found is not None
    config: dict[str, Any] = found[1]
    return config


def test_it_is_json_and_says_which() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$ref"] == "#/$defs/LargeEmbeddingsConfig"


def test_every_model_and_every_field_is_described() -> None:
    models = {name: model for name, model in SCHEMA["$defs"].items() if "properties" in model}
    assert {"LargeEmbeddingsConfig", "SmallEmbeddingsConfig", "StratifierConfig", "OptimizerConfig"} <= models.keys()
    for name, model in models.items():
        for field, schema in model["properties"].items():
            referred = [part["$ref"] for part in (schema, *schema.get("anyOf", ())) if "$ref" in part]
            described = (
                "description" in schema or "description" in SCHEMA["$defs"][referred[0].removeprefix("#/$defs/")]
            )
            assert described, f"{name}.{field}"


@pytest.mark.parametrize("name", ["graph", "ranking", "warmstart"])
def test_it_accepts_what_is_valid(name: str) -> None:
    assert accepts(SCHEMA, _config(name))


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": {"sgd": {"lr": 1}, "adam": {"lr": 1}}},
        {"optimizer": {"sgd": None}},
        {"optimizer": {"sgd": {"lr": -1}}},
        {"optimizer": {"adam": {"lr": 1, "betas": [0.9]}}},
        {"initializer": "normal"},
        {"initializer": {"zeros": {}, "mean": {}}},
        {"data_type": "fp8"},
        {"num_embeddings": 0},
        {"name": None},
        {"name": ""},
        {"unknown": 1},
        {"reserved": {"rows": 0}},
        {"reserved": {"rows": "all"}},
        {"pretrained": True},
    ],
)
def test_it_refuses_what_is_not(fields: dict[str, Any]) -> None:
    table = {"name": "user", "num_embeddings": 10, "embedding_dim": 4}
    assert accepts(SCHEMA, {"tables": [table]})
    assert not accepts(SCHEMA, {"tables": [{**table, **fields}]})


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": {"sgd": {"lr": 1}, "adam": None}},
        {"initializer": "zeros"},
        {"initializer": {"mean": {}, "seed": 3}},
        {"pooling": None},
        {"reserved": {"rows": 3}},
        {"reserved": {"rows": "1:3"}},
    ],
)
def test_it_accepts_short_forms_and_nulls(fields: dict[str, Any]) -> None:
    assert accepts(SCHEMA, {"tables": [{"name": "user", "num_embeddings": 10, "embedding_dim": 4, **fields}]})

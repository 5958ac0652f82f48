"""The JSON Schema of the configuration, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from embsnap.config.embedding import LargeEmbeddingsConfig, SmallEmbeddingsConfig, StratifierConfig

__all__ = ["schema_json"]


def schema_json() -> dict[str, Any]:
    """JSON Schema (2020-12) of `LargeEmbeddingsConfig`; every other model stands under `$defs`."""
    models = (LargeEmbeddingsConfig, SmallEmbeddingsConfig, StratifierConfig)
    _, schema = models_json_schema([(model, "validation") for model in models])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of embsnap",
        "$ref": f"#/$defs/{LargeEmbeddingsConfig.__name__}",
        **schema,
    }

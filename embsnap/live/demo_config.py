"""The claim of the demo's directory, and the configuration of each of its days."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import yaml

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.load import parse_large_embeddings
from embsnap.errors import ErrorKind, NotFoundError, RefusedError
from embsnap.live.demo_data import TABLES, roomy
from embsnap.live.demo_places import CONFIG, MARKER, DemoPlaces
from embsnap.live.demo_values import DemoOptions
from embsnap.model.vocabulary import Vocabulary

__all__ = ["claim", "day_config", "read_config", "read_options", "write_config"]

_SCHEMA = "embsnap.demo"
_LEARNING_RATE = 0.1
_MAX_BYTES = 1 << 20
"""Of the marker and the configuration."""


def claim(places: DemoPlaces, options: DemoOptions, *, overwrite: bool) -> None:
    """Make the directory a demo's.

    Args:
        places: Of the new demo.
        options: Are written to its marker.
        overwrite: Whether the days of an earlier demo may be removed first.

    Raises:
        RefusedError: It holds anything else, or an earlier demo that may not be removed.
    """
    store = places.store
    is_demo = store.stat(MARKER) is not None
    if is_demo and overwrite:
        for day in (1, 2):
            for found in list(store.list(f"day{day}/")):
                store.delete(found.location)
        store.delete(MARKER)
    elif store.children():
        raise RefusedError(
            ErrorKind.DESTINATION_TAKEN,
            "is not empty",
            where=places.directory,
            expected="a new or empty directory",
            found="an earlier demo" if is_demo else "files of something else",
            hint="pass --overwrite to make it anew" if is_demo else "choose another directory",
        )
    document = {"schema": _SCHEMA, "version": 1, "options": asdict(options)}
    store.create(MARKER, json.dumps(document, indent=2).encode())


def read_options(places: DemoPlaces) -> DemoOptions:
    """What a demo was made with.

    Raises:
        NotFoundError: There is no demo.
    """
    store = places.store
    if store.stat(MARKER) is None or store.stat(CONFIG) is None:
        raise NotFoundError(
            ErrorKind.NO_SUCH_OBJECT,
            "holds no demo",
            where=places.directory,
            expected="the directory of an earlier `embsnap demo DIR`",
            hint=f"embsnap demo {places.directory}",
        )
    return DemoOptions(**json.loads(store.read(MARKER, limit=_MAX_BYTES))["options"])


def day_config(vocabularies: dict[str, Vocabulary], options: DemoOptions) -> LargeEmbeddingsConfig:
    """The tables of a day that starts from nothing."""
    return LargeEmbeddingsConfig.model_validate(_document(vocabularies, options))


def write_config(places: DemoPlaces, vocabularies: dict[str, Vocabulary], options: DemoOptions, snapshot: str) -> None:
    """Write day two's configuration: its tables start from day one's snapshot and vocabularies."""
    document = _document(vocabularies, options)
    for table in document["tables"]:
        name = table["name"]
        table["vocab"] = vocabularies[name].uri
        table["pretrained"] = {
            "emb_name": name,
            "embedding_snapshot_uri": snapshot,
            "vocab": places.vocabulary(1, name),
        }
        table["reserved"] = {"rows": "0:1"}
    places.store.create(CONFIG, (_COMMENT + _to_yaml(document)).encode())


_COMMENT = """\
# The tables of day two. Each row of an entity that day one knew follows it to its new place;
# row 0, which stands for unknown entities, keeps its place; all others are new.
"""


def _document(vocabularies: dict[str, Vocabulary], options: DemoOptions) -> dict[str, Any]:
    tables = [
        {
            "name": name,
            "num_embeddings": roomy(vocabularies[name]),
            "embedding_dim": options.embedding_dim,
            "data_type": "fp32",
            "optimizer": {"rowwise_adagrad": {"lr": _LEARNING_RATE}},
        }
        for name in TABLES
    ]
    return {"tables": tables, "tables_to_log": list(TABLES)}


def _to_yaml(document: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, width=120)
    return text.replace("$", "$$")  # what reads it substitutes variables


def read_config(places: DemoPlaces) -> LargeEmbeddingsConfig:
    """Day two's configuration."""
    text = places.store.read(CONFIG, limit=_MAX_BYTES).decode()
    return parse_large_embeddings(text, where=places.config, at=None, environ={})

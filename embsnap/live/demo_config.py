"""The demo's directory, and the configuration of each of its days.

demo.json               what the demo was made with; it marks the directory as one that may be replaced
day1/events/            parquet: user_id, relation, post_id
day1/vocab/user, post   parquet: id, row, count
day1/snapshot/<step>/   written by torchsnapshot
day2/events/, vocab/    likewise, of the next day
day2/warmstart.yaml     day two's tables, and where their rows come from
day2/warm/              where `embsnap warmstart` is to write
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.load import parse_large_embeddings
from embsnap.errors import ErrorKind, NotFoundError, RefusedError
from embsnap.live.demo_data import TABLES, roomy
from embsnap.live.demo_values import DemoOptions
from embsnap.model.vocabulary import Vocabulary

__all__ = ["DemoPlaces", "claim", "day_config", "read_config", "read_options", "write_config"]

_SCHEMA = "embsnap.demo"
_LEARNING_RATE = 0.1


@dataclass(frozen=True, slots=True)
class DemoPlaces:
    """Where things lie under the demo's directory."""

    directory: str

    def events(self, day: int) -> str:
        """Directory of a day's events."""
        return self._join(f"day{day}", "events")

    def vocabulary(self, day: int, table: str) -> str:
        """Directory of a vocabulary."""
        return self._join(f"day{day}", "vocab", table)

    def snapshot(self, step: int) -> str:
        """Directory of day one's snapshot."""
        return self._join("day1", "snapshot", str(step))

    @property
    def marker(self) -> str:
        """File that says that this is a demo."""
        return self._join("demo.json")

    @property
    def config(self) -> str:
        """File of day two's configuration."""
        return self._join("day2", "warmstart.yaml")

    @property
    def warm(self) -> str:
        """Directory of the warm start."""
        return self._join("day2", "warm")

    def _join(self, *parts: str) -> str:
        return os.path.join(self.directory, *parts)


def claim(places: DemoPlaces, options: DemoOptions, *, overwrite: bool) -> None:
    """Make the directory a demo's.

    Args:
        places: Of the new demo.
        options: Are written to its marker.
        overwrite: Whether the days of an earlier demo may be removed first.

    Raises:
        RefusedError: It holds anything else, or an earlier demo that may not be removed.
    """
    os.makedirs(places.directory, exist_ok=True)
    is_demo = os.path.isfile(places.marker)
    if is_demo and overwrite:
        for day in (1, 2):
            shutil.rmtree(os.path.join(places.directory, f"day{day}"), ignore_errors=True)
    elif os.listdir(places.directory):
        raise RefusedError(
            ErrorKind.DESTINATION_TAKEN,
            "is not empty",
            where=places.directory,
            expected="a new or empty directory",
            found="an earlier demo" if is_demo else "files of something else",
            hint="pass --overwrite to make it anew" if is_demo else "choose another directory",
        )
    with open(places.marker, "w", encoding="utf-8") as marker:
        json.dump({"schema": _SCHEMA, "version": 1, "options": asdict(options)}, marker, indent=2)


def read_options(places: DemoPlaces) -> DemoOptions:
    """What a demo was made with.

    Raises:
        NotFoundError: There is no demo.
    """
    if not os.path.isfile(places.marker) or not os.path.isfile(places.config):
        raise NotFoundError(
            ErrorKind.NO_SUCH_OBJECT,
            "holds no demo",
            where=places.directory,
            expected="the directory of an earlier `embsnap demo DIR`",
            hint=f"embsnap demo {places.directory}",
        )
    with open(places.marker, encoding="utf-8") as marker:
        return DemoOptions(**json.load(marker)["options"])


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
    with open(places.config, "w", encoding="utf-8") as file:
        file.write(_COMMENT + _to_yaml(document))


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
    with open(places.config, encoding="utf-8") as file:
        return parse_large_embeddings(file.read(), where=places.config, at=None, environ={})

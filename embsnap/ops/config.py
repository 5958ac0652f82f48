"""Reading a configuration by URI."""

from __future__ import annotations

import os
from collections.abc import Mapping

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.load import parse_large_embeddings
from embsnap.errors import ErrorKind, UsageError
from embsnap.storage.nearest import read_object

__all__ = ["MAX_CONFIG_BYTES", "read_config_text", "read_large_embeddings"]

MAX_CONFIG_BYTES = 16 << 20
"""A larger file is no configuration."""


def read_config_text(uri: str, *, options: Mapping[str, str] | None = None) -> str:
    """The text of a configuration file.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It is not UTF-8.
        StorageError: It is larger than 16 MiB, or the storage failed.
    """
    data = read_object(uri if "://" in uri else os.path.realpath(uri), options, limit=MAX_CONFIG_BYTES)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            ErrorKind.BAD_CONFIG,
            "is not UTF-8 text",
            where=uri,
            found=f"byte {data[error.start]:#04x} at {error.start}",
        ) from error


def read_large_embeddings(
    uri: str, *, at: str | None, environ: Mapping[str, str], options: Mapping[str, str] | None = None
) -> LargeEmbeddingsConfig:
    """The `LargeEmbeddingsConfig` in a YAML file.

    Args:
        uri: Of the file.
        at: Where in it the configuration stands, `model.embeddings`; None finds the only place that parses.
        environ: For `${NAME}` in the file.
        options: Settings of the storage client.

    Raises:
        UsageError: It is wrong; every problem is listed.
        NotFoundError: There is no such file, or no configuration in it, or several.
    """
    return parse_large_embeddings(read_config_text(uri, options=options), where=uri, at=at, environ=environ)

"""Lists that people hand over as text files."""

from __future__ import annotations

import click

__all__ = ["read_lines"]


def read_lines(path: str) -> list[str]:
    """The lines of a text file, or of stdin for `-`, that are not empty."""
    try:
        with click.open_file(path, encoding="utf-8", errors="surrogateescape") as file:
            return [text for line in file if (text := line.rstrip("\r\n"))]
    except OSError as error:
        raise click.FileError(path, error.strerror) from error

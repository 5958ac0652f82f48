"""Where NVTabular keeps the categories of a column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from embsnap.errors import ErrorKind, NotFoundError, UsageError
from embsnap.storage.base import Store
from embsnap.storage.uri import open_store, split_uri

__all__ = ["CategoryFiles", "column_of", "find_categories", "unique_name"]

_UNIQUE = re.compile(r"(?:(?P<folder>.*)/)?unique\.(?P<column>[^/]+)\.parquet(?:/(?P<part>[^/]+\.parquet))?")


@dataclass(frozen=True, slots=True)
class CategoryFiles:
    """The files of one column."""

    store: Store
    column: str
    unique: tuple[str, ...]
    """One file, or the parts of a directory in the order of their numbers."""
    meta: str | None
    """None where there is no meta file."""


def unique_name(column: str) -> str:
    """The name of a column's unique file."""
    return f"unique.{column}.parquet"


def column_of(uri: str) -> str | None:
    """The column in the last part of a URI `…/unique.<column>.parquet`, or None if it is another."""
    match = _UNIQUE.fullmatch(uri.rstrip("/").rpartition("/")[2])
    return None if match is None else match["column"]


def find_categories(uri: str, column: str | None, options: Mapping[str, str] | None = None) -> CategoryFiles:
    """The files of one column.

    Args:
        uri: Of its unique file (or the directory of its parts), or of a directory with such files, at any depth.
        column: Which one; None for the only one there is.
        options: Of the store.

    Raises:
        NotFoundError: `no-such-object`: there is none; or `ambiguous-column`: there are several.
        UsageError: `bad-option`: `uri` is the unique file of another column.
    """
    named = column_of(uri)
    root = split_uri(uri)[0] if named is not None else uri
    if named is not None and column not in (None, named):
        raise UsageError(
            ErrorKind.BAD_OPTION, "is the file of another column", where=uri, expected=f"--column {named}", found=column
        )
    store = open_store(root, options)
    locations = [found.location for found in store.list()]
    groups: dict[tuple[str, str], list[str]] = {}
    for location in locations:
        match = _UNIQUE.fullmatch(location)
        if match is not None and (named is None or (match["folder"] is None and match["column"] == named)):
            groups.setdefault((match["folder"] or "", match["column"]), []).append(location)
    wanted = [key for key in groups if column in (None, key[1])]
    if len(wanted) != 1:
        raise _not_one(uri, column, [f"{folder}/{name}" if folder else name for folder, name in wanted or groups])
    folder, name = wanted[0]
    meta = f"{folder}/meta.{name}.parquet" if folder else f"meta.{name}.parquet"
    unique = tuple(sorted(groups[wanted[0]], key=_part_number))
    return CategoryFiles(store, name, unique, meta if meta in locations else None)


def _part_number(location: str) -> tuple[int, str]:
    """`part.10.parquet` comes after `part.2.parquet`."""
    numbers = re.findall(r"\d+", location.rpartition("/")[2])
    return (int(numbers[-1]) if numbers else 0, location)


def _not_one(uri: str, column: str | None, found: list[str]) -> NotFoundError:
    several = len(found) > 1 and column in (None, *(name.rpartition("/")[2] for name in found))
    return NotFoundError(
        ErrorKind.AMBIGUOUS_COLUMN if several else ErrorKind.NO_SUCH_OBJECT,
        "holds the categories of several columns" if several else "holds no categories of such a column",
        where=uri,
        expected=f"unique.{column or '<column>'}.parquet",
        found=", ".join(found[:10]) or "none",
        hint="name the one with --column, or give the URI of its file" if several else None,
    )

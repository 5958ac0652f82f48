"""Which files are imported as which tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError, UsageError
from embsnap.formats.exchange.content import TableCard
from embsnap.formats.exchange.formats import told_format
from embsnap.model.exchange import ExchangeFormat
from embsnap.ops.export.writing import MANIFEST_NAME
from embsnap.storage.base import check_location
from embsnap.storage.uri import join_uri, open_store

__all__ = ["Source", "find_sources"]

_MAX_MANIFEST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """One table to be."""

    name: str
    uri: str
    format: ExchangeFormat
    card: TableCard | None = None
    """What `export.json` says of it."""


def find_sources(
    given: Mapping[str, str] | str, target: ExchangeFormat | None, options: Mapping[str, str] | None = None
) -> tuple[Source, ...]:
    """The sources of an import.

    Args:
        given: URI of a file by the name of its table; or that of a directory that `export` wrote.
        target: Format of all files; None to tell it by their names.
        options: Of the stores.

    Raises:
        UsageError: `bad-option`: a name is no table's, or a format cannot be told. `nothing-to-do`: there is no table.
        NotFoundError: `no-such-object`: the directory holds no `export.json`.
        SnapshotError: `bad-export`: what it holds is none.
    """
    if isinstance(given, str):
        return _of_directory(given, options)
    if not given:
        raise UsageError(ErrorKind.NOTHING_TO_DO, "no table is given", expected="NAME=URI, or an exported directory")
    for name in given:
        if not name or "." in name:
            expected, hint = "a name without dots", "it is to be a part of the table's state key"
            problem = "is no name of a table"
            raise UsageError(ErrorKind.BAD_OPTION, problem, where=repr(name), expected=expected, hint=hint)
    return tuple(Source(name, uri, target or told_format(uri)) for name, uri in given.items())


def _of_directory(uri: str, options: Mapping[str, str] | None) -> tuple[Source, ...]:
    store = open_store(uri, options)
    try:
        data = store.read(MANIFEST_NAME, limit=_MAX_MANIFEST_BYTES)
    except NotFoundError as error:
        raise NotFoundError(
            error.kind,
            f"there is no {MANIFEST_NAME}",
            where=uri,
            expected="a directory that `embsnap export` wrote",
            hint="say which table a file is of: NAME=URI",
        ) from None
    where = join_uri(uri, MANIFEST_NAME)
    try:
        document = json.loads(data)
        if document["schema"] != "embsnap.exported" or document["version"] != 1:
            raise ValueError(f"schema {document['schema']!r:.40}, version {document['version']!r:.10}")
        found = ExchangeFormat(document["format"])
        sources = tuple(_source(uri, fields, found, where) for fields in document["tables"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise SnapshotError(
            ErrorKind.BAD_EXPORT,
            "does not say what was exported",
            where=where,
            expected="a document that `embsnap export` wrote",
            found=" ".join(str(error).split())[:100],
            hint="say which table a file is of: NAME=URI",
        ) from None
    if not sources:
        raise UsageError(ErrorKind.NOTHING_TO_DO, "holds no table", where=where)
    names = [source.name for source in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "holds several tables of one name, whose vocabularies could not be told apart",
            where=where,
            expected="one table of each name",
            found=", ".join(twice[:10]),
            hint="import their files under names of their own: NAME=URI",
        )
    return sources


def _source(uri: str, fields: Mapping[str, Any], found: ExchangeFormat, where: str) -> Source:
    known = ("name", "path", "dtype", "num_embeddings", "id_type")
    text = json.dumps({"schema": "embsnap.table", "version": 1, **{key: fields[key] for key in known}})
    card = TableCard.decode(text)
    if card is None:
        raise ValueError("a table whose fields cannot be right")
    return Source(card.name, join_uri(uri, check_location(fields["files"][0], where=where)), found, card)

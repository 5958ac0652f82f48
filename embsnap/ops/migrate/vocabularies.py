"""Vocabularies that steps have made, and where they are written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, RefusedError
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.model.migration import MigrationResult
from embsnap.model.paths import escape
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.migrate.draft import Draft
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["VocabulariesToWrite"]


class _Options(Protocol):
    @property
    def threads(self) -> int: ...
    @property
    def storage_options(self) -> Mapping[str, str]: ...


class VocabulariesToWrite:
    """One parquet file for each table whose vocabulary a step has made: `<directory>/<table>.parquet`.

    Attributes:
        uris: By table.
    """

    def __init__(self, draft: Draft, directory: str, options: _Options) -> None:
        self._made = {
            table.name: table.entities
            for table in draft.tables.values()
            if table.entities is not None and table.entities.is_made
        }
        self.uris = {name: join_uri(directory, f"{escape(name)}.parquet") for name in self._made}
        self._options = options
        self._written: list[str] = []
        self._there: set[str] = set()

    def check(self, *, resume: bool) -> None:
        """Refuse a place that is taken, but by what an earlier run of the same plan has written there.

        Raises:
            RefusedError: `destination-taken`.
        """
        for name, uri in self.uris.items():
            if self._is_free(uri):
                continue
            if not (resume and self._holds(uri, self._made[name].load())):
                raise RefusedError(
                    ErrorKind.DESTINATION_TAKEN,
                    "a vocabulary that the migration makes would be written there",
                    where=uri,
                    expected="a file that does not exist",
                    found="one",
                    hint="choose another --vocab-out; embsnap overwrites nothing",
                )
            self._there.add(name)

    def write(self, write_vocabulary: Callable[..., str]) -> None:
        """Write those that are not there yet."""
        for name, uri in self.uris.items():
            if name not in self._there:
                options = {"options": self._options.storage_options, "threads": self._options.threads}
                write_vocabulary(self._made[name].load(), uri, **options)
                self._written.append(uri)

    def withdraw(self, *, keep: bool) -> None:
        """Delete what was written, after the snapshot failed, unless it is to be taken over."""
        for uri in [] if keep else self._written:
            root, name = split_uri(uri)
            with contextlib.suppress(EmbsnapError):
                open_store(root, self._options.storage_options).delete(name)

    def named_in(self, result: MigrationResult) -> MigrationResult:
        """The result with where they are."""
        tables = [replace(table, vocabulary=self.uris.get(table.name, table.vocabulary)) for table in result.tables]
        return replace(result, tables=tuple(tables))

    def _is_free(self, uri: str) -> bool:
        root, name = split_uri(uri)
        return open_store(root, self._options.storage_options).stat(name) is None

    def _holds(self, uri: str, made: Vocabulary) -> bool:
        try:
            found: Vocabulary = read_vocabulary(uri, options=self._options.storage_options)
        except NotFoundError:
            return False
        columns = [(found.counts_N, made.counts_N), (found.last_seen_N, made.last_seen_N)]
        return fingerprint_of(found) == fingerprint_of(made) and all(map(_is_equal, *zip(*columns, strict=True)))


def _is_equal(one_N: NDArray[np.int64] | None, other_N: NDArray[np.int64] | None) -> bool:
    if one_N is None or other_N is None:
        return one_N is other_N
    return np.array_equal(one_N, other_N)

"""The tables of an export: their vocabularies, and which of their entities are taken.

Shape suffixes: N entities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from embsnap.errors import ErrorKind, IncompatibleError, StorageError, UsageError
from embsnap.formats.exchange.content import Entities
from embsnap.formats.exchange.formats import check_entities
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_filter import read_further_columns, records_where
from embsnap.kernels.take import take_ids
from embsnap.model.findings import Finding
from embsnap.model.progress import Progress
from embsnap.model.table import Table
from embsnap.model.vocabulary import Ids, Vocabulary
from embsnap.ops.export.options import ExportOptions
from embsnap.ops.vocabulary import check_vocabulary, fingerprint_of
from embsnap.ops.vocabulary_findings import ROW_GAPS, refuse_errors

__all__ = ["ExportSource", "choose_entities", "open_source"]


@dataclass(frozen=True, slots=True, eq=False)
class ExportSource:
    """One table to read."""

    snapshot: Snapshot
    table: Table
    vocab: str | None
    """URI of its vocabulary; None if it is exported by position."""
    fingerprint: str | None
    """That the sidecar records."""


def open_source(snapshot: Snapshot, name: str, options: ExportOptions) -> ExportSource:
    """Find a table, and its vocabulary's URI.

    Raises:
        NotFoundError, SnapshotError: There is no such table, or it cannot be read as it stands.
        IncompatibleError: `no-vocabulary`.
    """
    table = snapshot.table(name, with_state=False)
    if options.by_position:
        return ExportSource(snapshot, table, None, None)
    recorded = None if snapshot.sidecar is None else snapshot.sidecar.tables.get(table.name)
    vocab = options.vocab.get(name, None if recorded is None else recorded.uri)
    if vocab is None:
        raise IncompatibleError(
            ErrorKind.NO_VOCABULARY,
            "nothing says which rows belong to which entity ids",
            where=f"table {name} in {snapshot.uri}",
            expected="a vocabulary that is given, or one recorded beside the snapshot",
            found="neither",
            hint=f"give --vocab {name}=URI, or export all rows without ids with --by-position",
        )
    return ExportSource(snapshot, table, vocab, None if recorded is None else recorded.fingerprint)


def _read(source: ExportSource, uri: str, options: ExportOptions, progress: Progress) -> Vocabulary:
    """The vocabulary of a table, checked against it."""
    vocabulary = read_vocabulary(
        uri, columns=options.columns, options=options.storage_options, threads=options.threads, progress=progress
    )
    found = fingerprint_of(vocabulary, threads=options.threads)
    if source.fingerprint is not None and source.fingerprint != found:
        raise IncompatibleError(
            ErrorKind.VOCABULARY_MISMATCH,
            "the vocabulary is not the one the snapshot was written with",
            where=f"table {source.table.name}, {uri}",
            expected=source.fingerprint,
            found=found,
            hint=f"give an unchanged copy of it ({source.snapshot.uri})",
        )
    findings = check_vocabulary(vocabulary, source.table.num_embeddings, threads=options.threads)
    refuse_errors(finding for finding in findings if finding.kind != ROW_GAPS)
    return vocabulary


def choose_entities(
    source: ExportSource, options: ExportOptions, progress: Progress
) -> tuple[Entities, int, tuple[Finding, ...]]:
    """The rows of one table in their order, how many there are to choose from, and what the vocabulary shows.

    Raises:
        UsageError: The condition is none, or no entity meets it.
        NotFoundError, SnapshotError, StorageError: The vocabulary cannot be read, or changed meanwhile.
        IncompatibleError: It does not fit the table, or the format has no place for its ids.
    """
    num_rows = source.table.num_embeddings
    if source.vocab is None:
        return Entities(np.arange(num_rows)), num_rows, ()
    vocabulary = _read(source, source.vocab, options, progress)
    rows_N, ids, kept_N = vocabulary.rows_N, vocabulary.ids, None
    if options.where is not None:
        kept_N = records_where(source.vocab, options.where, options=options.storage_options)
        _check_same(source.vocab, len(kept_N), len(vocabulary))
        if not kept_N.any():
            raise UsageError(
                ErrorKind.NOTHING_TO_DO,
                "no entity meets the condition",
                where=f"--where {options.where!r}",
                expected=f"some of the {len(vocabulary):,} entities of {source.vocab}",
            )
    columns: dict[str, Any] = {}
    if options.further_columns:
        names = list(dict.fromkeys(options.further_columns))
        columns = read_further_columns(source.vocab, names, kept_N, options=options.storage_options)
        _check_same(source.vocab, len(columns[names[0]]), len(rows_N) if kept_N is None else int(kept_N.sum()))
    index_N = np.arange(len(rows_N)) if kept_N is None else np.flatnonzero(kept_N)
    order = np.argsort(rows_N[index_N], kind="stable")
    taken: Ids = take_ids(ids, index_N[order])
    columns = {name: array.take(pa.array(order)) for name, array in columns.items()}
    entities = Entities(rows_N[index_N[order]], taken, vocabulary.id_type, columns)
    check_entities(options.format, entities, source.vocab)
    return entities, len(vocabulary), vocabulary.findings


def _check_same(uri: str, num_found: int, num_expected: int) -> None:
    if num_found != num_expected:
        raise StorageError(
            ErrorKind.OBJECT_REPLACED,
            "the vocabulary was replaced while it was read",
            where=uri,
            expected=f"{num_expected} entities",
            found=num_found,
            hint="run the command again once it is written",
        )

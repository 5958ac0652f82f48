"""A table of one snapshot with its vocabulary, looked into by entity id or row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.formats.vocabulary_columns import VocabularyColumns
from embsnap.formats.vocabulary_lookup import open_vocabulary
from embsnap.formats.vocabulary_metadata import read_declared
from embsnap.model.findings import Finding, Severity
from embsnap.model.row_lookup import LookedUpTable
from embsnap.model.table import Table
from embsnap.model.vocab_inspection import Entity, VocabLookup
from embsnap.ops.table_names import told_apart
from embsnap.ops.vocab_lookup import VocabLookupOptions, look_up

__all__ = ["Place", "open_place", "the_table"]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One table to look into."""

    snapshot: Snapshot
    table: Table
    vocab: str | None
    """URI of its vocabulary."""
    findings: tuple[Finding, ...]
    columns: VocabularyColumns
    threads: int
    storage_options: Mapping[str, str]

    def entities(self, ids: Sequence[str], rows: Sequence[int]) -> VocabLookup:
        """The entities that have these ids, and those that have these rows.

        Raises:
            IncompatibleError: `no-vocabulary`: the table has none; `id-type-mismatch`; `row-out-of-range`: a row of
                its vocabulary is beyond the table.
        """
        if self.vocab is None:
            raise IncompatibleError(
                ErrorKind.NO_VOCABULARY,
                "nothing says which rows belong to which entity ids",
                where=f"table {self.table.name} in {self.snapshot.uri}",
                expected="a vocabulary that is given, or one recorded beside the snapshot",
                found="neither",
                hint="give --vocab URI (--vocab-against for the second snapshot), or look up rows with --row",
            )
        options = VocabLookupOptions(
            ids=ids, rows=rows, columns=self.columns, threads=self.threads, storage_options=self.storage_options
        )
        found = look_up(self.vocab, options)
        self.checked(found.entities)
        return found

    def ids_of(self, rows: Iterable[int]) -> dict[int, Entity]:
        """The entities of some rows, as far as there are any."""
        rows = list(dict.fromkeys(rows))
        if self.vocab is None or not rows:
            return {}
        return {entity.row: entity for entity in self.entities((), rows).entities}

    def described(self) -> LookedUpTable:
        """What the result says of it."""
        table = self.table
        return LookedUpTable(
            uri=self.snapshot.uri,
            table=table.name,
            num_embeddings=table.num_embeddings,
            embedding_dim=table.embedding_dim,
            dtype=table.weight.dtype.name,
            vocab=self.vocab,
            num_unchecked_rows=self.snapshot.num_unchecked_rows,
        )

    def checked(self, entities: tuple[Entity, ...]) -> tuple[Entity, ...]:
        """The same entities, if the table has all their rows.

        Raises:
            IncompatibleError: `row-out-of-range`.
        """
        for entity in entities:
            if entity.row >= self.table.num_embeddings:
                raise IncompatibleError(
                    ErrorKind.ROW_OUT_OF_RANGE,
                    "the vocabulary gives an entity a row that the table does not have",
                    where=f"{self.vocab}, entity {entity.id}",
                    expected=f"a row below {self.table.num_embeddings}, as table {self.table.name} has",
                    found=entity.row,
                    hint="give the vocabulary that the snapshot was trained with",
                )
        return entities


def open_place(
    uri: str,
    table: str | None,
    vocab: str | None,
    *,
    columns: VocabularyColumns,
    threads: int,
    storage_options: Mapping[str, str],
    check: bool = True,
) -> Place:
    """Find a table and its vocabulary. Of the vocabulary only the files' footers are read.

    Raises:
        NotFoundError: No such snapshot or table; several tables, and none is named.
        SnapshotError: Not a committed, readable snapshot.
        IncompatibleError: `vocabulary-mismatch`: the vocabulary is not the one the snapshot was written with;
            `dtype-mismatch`: rows of complex numbers.
    """
    snapshot = open_snapshot(uri, options=storage_options, check=check)
    found = snapshot.table(table if table is not None else the_table(snapshot))
    if found.weight.dtype.name.startswith("complex"):
        raise _complex(uri, found)
    recorded = snapshot.sidecar.tables.get(found.name) if snapshot.sidecar is not None else None
    used = vocab if vocab is not None else None if recorded is None else recorded.uri
    found = told_apart(snapshot, [found])[0]
    place = Place(snapshot, found, used, (), columns, threads, storage_options)
    if used is None or recorded is None:
        return place
    findings = _compare_fingerprints(place, used, recorded.fingerprint)
    return Place(snapshot, found, used, findings, columns, threads, storage_options)


def the_table(snapshot: Snapshot) -> str:
    """The only table of a snapshot.

    Raises:
        NotFoundError: `no-such-table` or `ambiguous-table`.
    """
    names = sorted(set(snapshot.index.names.values()))
    if len(snapshot.index.names) == 1:
        return names[0]
    kind = ErrorKind.AMBIGUOUS_TABLE if names else ErrorKind.NO_SUCH_TABLE
    problem = "has several tables, and none was named" if names else "has no table"
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    hint = f"give --table, such as --table {names[0]}" if names else "`embsnap inspect` shows what it holds"
    raise NotFoundError(kind, problem, where=snapshot.uri, expected="one table", found=shown or "none", hint=hint)


def _compare_fingerprints(place: Place, vocab: str, recorded: str) -> tuple[Finding, ...]:
    """By what the files declare, so that they need not be read whole."""
    searched = open_vocabulary(vocab, columns=place.columns, options=place.storage_options, threads=place.threads)
    declared, _ = read_declared(vocab, [file.pairs for file in searched.files])
    found = None if declared is None else declared.fingerprint
    if found is not None and found != recorded:
        raise IncompatibleError(
            ErrorKind.VOCABULARY_MISMATCH,
            "the vocabulary is not the one the snapshot was written with",
            where=f"table {place.table.name}, {vocab}",
            expected=recorded,
            found=found,
            hint=f"give an unchanged copy of it ({place.snapshot.uri})",
        )
    if found is not None:
        return ()
    message = "its files do not declare a fingerprint, so that it was not compared with the one the snapshot records"
    remedy = "`embsnap vocab inspect` computes it; write it again with `embsnap vocab convert`"
    return (Finding(Severity.NOTE, "vocabulary-unproven", vocab, message, remedy),)


def _complex(uri: str, table: Table) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.DTYPE_MISMATCH,
        "its rows are no vectors of real numbers",
        where=f"table {table.name} in {uri}",
        expected="a real dtype",
        found=table.weight.dtype.name,
        hint="read the array itself with embsnap.open_snapshot",
    )

"""The tables to compare, found in both snapshots, each with its vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.kernels.loading import kernels_loading, load_join
from embsnap.model.progress import Progress
from embsnap.model.snapshot_diff import DiffedTable
from embsnap.model.table import Table
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.table_names import table_names, told_apart
from embsnap.ops.vocabulary import fingerprint_of

__all__ = ["Side", "pair_names", "read_sides"]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One side of one table."""

    snapshot: Snapshot
    table: Table
    vocabulary: Vocabulary | None = None
    fingerprint: str | None = None

    def described(self) -> DiffedTable:
        """What the report says of it."""
        table = self.table
        return DiffedTable(
            name=table.name,
            num_embeddings=table.num_embeddings,
            embedding_dim=table.embedding_dim,
            dtype=table.weight.dtype.name,
            vocab=None if self.vocabulary is None else self.vocabulary.uri,
            fingerprint=self.fingerprint,
        )


def pair_names(a: Snapshot, b: Snapshot, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """A's and B's name of each pair of tables.

    Args:
        a: Its tables are named first.
        b: The other snapshot.
        wanted: `user`, or `user=member`; all tables that have one name on both sides, if empty, and those with one path
            where a side has several of one name.

    Raises:
        NotFoundError: `no-such-table` or `ambiguous-table`.
    """
    if not wanted:
        names_b = table_names(b)
        by_path = {path: name for name, path in names_b.items()}
        found = [(name, name if name in names_b else by_path.get(path)) for name, path in table_names(a).items()]
        return [(name_a, name_b) for name_a, name_b in found if name_b is not None]
    pairs = []
    for text in dict.fromkeys(wanted):
        name_a, equals, name_b = text.partition("=")
        pair = (name_a, name_b if equals else name_a)
        a.index.find(pair[0])
        b.index.find(pair[1])
        pairs.append(pair)
    return pairs


def read_sides(
    snapshots: tuple[Snapshot, Snapshot], names: tuple[str, str], options: DiffOptions, progress: Progress
) -> tuple[Side, Side]:
    """Both sides of a pair of tables, with vocabularies on both sides or on neither.

    Raises:
        SnapshotError: A table cannot be read as it stands.
        IncompatibleError: `no-vocabulary`: only one side has a vocabulary; `vocabulary-mismatch`: it is not the one
            that the snapshot was written with; or as `read_vocabulary` says.
        NotFoundError: There is no such vocabulary.
    """
    tables = [
        snapshot.table(name, with_state=options.bit_exact) for snapshot, name in zip(snapshots, names, strict=True)
    ]
    named = [told_apart(snapshot, [table])[0] for snapshot, table in zip(snapshots, tables, strict=True)]
    sides = Side(snapshots[0], named[0]), Side(snapshots[1], named[1])
    if options.by_position:
        return sides
    given = (options.vocab_a, options.vocab_b)
    sources = [list(_sources(*side)) for side in zip(snapshots, tables, names, given, strict=True)]
    _check_both_or_neither(sources, tables, snapshots)
    if not sources[0]:
        return sides
    with kernels_loading(load_join):
        a, b = (
            _with_vocabulary(side, *source[0], options, progress) for side, source in zip(sides, sources, strict=True)
        )
    return a, b


def _sources(snapshot: Snapshot, table: Table, name: str, given: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """URI of a table's vocabulary and the fingerprint that the sidecar has of it; nothing if it has none."""
    recorded = snapshot.sidecar.tables.get(table.name) if snapshot.sidecar is not None else None
    fingerprint = None if recorded is None else recorded.fingerprint
    if name in given or table.name in given:
        yield given.get(name) or given[table.name], fingerprint
    elif recorded is not None:
        yield recorded.uri, fingerprint


def _check_both_or_neither(
    sources: Sequence[Sequence[tuple[str, str | None]]], tables: Sequence[Table], snapshots: Sequence[Snapshot]
) -> None:
    if bool(sources[0]) == bool(sources[1]):
        return
    lacking, having = (0, 1) if sources[1] else (1, 0)
    option = ("--vocab-a", "--vocab-b")[lacking]
    raise IncompatibleError(
        ErrorKind.NO_VOCABULARY,
        "nothing says which entities these rows belong to, while the other side's rows have a vocabulary",
        where=f"table {tables[lacking].name} in {snapshots[lacking].uri}",
        expected=f"a vocabulary, as {sources[having][0][0]} of {snapshots[having].uri}",
        found="none",
        hint=f"give {option} {tables[lacking].name}=URI, or --by-position to compare row by row",
    )


def _with_vocabulary(side: Side, uri: str, recorded: str | None, options: DiffOptions, progress: Progress) -> Side:
    vocabulary = read_vocabulary(
        uri, columns=options.columns, options=options.storage_options, threads=options.threads, progress=progress
    )
    found = fingerprint_of(vocabulary, threads=options.threads)
    if recorded is not None and recorded != found:
        raise IncompatibleError(
            ErrorKind.VOCABULARY_MISMATCH,
            "the vocabulary is not the one the snapshot was written with",
            where=f"table {side.table.name}, {uri}",
            expected=recorded,
            found=found,
            hint=f"give an unchanged copy of it, or --by-position to compare row by row ({side.snapshot.uri})",
        )
    return Side(side.snapshot, side.table, vocabulary, found)

"""Which rows of two tables belong together.

Shape suffixes: V rows of B's table, W of A's, N entities of a vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.hashing import id_keys, row_keys
from embsnap.kernels.row_marks import count_in_place, missing_rows, rows_among
from embsnap.model.findings import Finding, Severity
from embsnap.model.snapshot_diff import MatchedBy, Matching
from embsnap.model.vocab_inspection import Entity
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.diff.sides import Side
from embsnap.ops.vocab_entities import entities_at, largest
from embsnap.ops.vocabulary import align

__all__ = ["MatchedRows", "match_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class MatchedRows:
    """The rows of B that have a counterpart in A, and what they are called."""

    matching: Matching
    findings: tuple[Finding, ...]
    num_rows: int
    """Rows of B that are looked at: `[0, num_rows)`."""
    row_V: NDArray[np.int64] | None
    """A's row of each row of B, or -1; None where each row is its own counterpart."""
    vocabulary: Vocabulary | None
    """B's."""
    threads: int

    def rows_a(self, start: int, end: int) -> NDArray[np.int64]:
        """A's rows of B's rows `[start, end)`, -1 where there is none."""
        return np.arange(start, end) if self.row_V is None else self.row_V[start:end]

    def entities(self, rows: Iterable[int]) -> dict[int, Entity]:
        """The entities of some rows of B, by row; empty by position."""
        wanted = np.array(sorted(rows), np.int64)
        if self.vocabulary is None or self.row_V is None or not len(wanted):
            return {}
        indices = _entities_in(self.vocabulary, wanted, len(self.row_V), self.threads)
        return {entity.row: entity for entity in entities_at(self.vocabulary, indices.tolist())}

    def names(self, rows: Iterable[int]) -> tuple[str, ...]:
        """The ids of some rows of B, as text; the rows themselves by position."""
        rows = list(rows)
        entities = self.entities(rows)
        return tuple(str(entities[row].id) if row in entities else f"row {row}" for row in rows)

    def sample(self, num: int, threads: int) -> NDArray[np.int64]:
        """`num` shared rows of B, or all of them, ascending: those whose entities have the least keys.

        Keys come from ids (from rows, by position), so that the same entities are drawn whatever the rows are.
        """
        if self.vocabulary is None or self.row_V is None:
            rows_N, keys_N = np.arange(self.num_rows), row_keys(0, self.num_rows)
        else:
            shared_N = self.row_V[self.vocabulary.rows_N] >= 0
            rows_N = self.vocabulary.rows_N[shared_N]
            keys_N = id_keys(self.vocabulary.ids, threads=threads)[shared_N]
        if num < len(rows_N):
            rows_N = rows_N[np.argpartition(keys_N, num)[:num]]
        return np.sort(rows_N)


def match_rows(a: Side, b: Side, *, num_shown: int, threads: int) -> MatchedRows:
    """Match by the two vocabularies, or by position where there are none.

    Raises:
        IncompatibleError: The vocabularies are not sound, do not fit their tables, or have no entity in common.
    """
    if a.vocabulary is None or b.vocabulary is None:
        return _by_position(a, b)
    row_map, findings = align(
        a.vocabulary,
        b.vocabulary,
        num_new_rows=b.table.num_embeddings,
        num_old_rows=a.table.num_embeddings,
        threads=threads,
    )
    row_V = row_map.row_V
    gone = born = np.empty(0, np.int64)
    if row_map.num_dropped:
        rows_gone = missing_rows(row_V, a.table.num_embeddings, threads=threads)
        gone = _entities_in(a.vocabulary, rows_gone, a.table.num_embeddings, threads)
    if row_map.num_new:
        born = _entities_in(b.vocabulary, row_map.new_rows_N, len(row_V), threads)
    matching = Matching(
        by=MatchedBy.ENTITY,
        num_shared=row_map.num_carried,
        num_born=row_map.num_new,
        num_gone=row_map.num_dropped,
        num_moved=row_map.num_carried - count_in_place(row_V, threads=threads),
        born=_shown(b.vocabulary, born, num_shown),
        gone=_shown(a.vocabulary, gone, num_shown),
    )
    return MatchedRows(matching, findings, len(row_V), row_V, b.vocabulary, threads)


def _by_position(a: Side, b: Side) -> MatchedRows:
    rows_a, rows_b = a.table.num_embeddings, b.table.num_embeddings
    num_shared = min(rows_a, rows_b)
    matching = Matching(MatchedBy.POSITION, num_shared, rows_b - num_shared, rows_a - num_shared, 0, (), ())
    note = Finding(
        Severity.NOTE,
        "matched-by-position",
        f"table {b.table.name}",
        "rows were compared by their index, not by entity",
        "give --vocab-a and --vocab-b if the two tables have vocabularies",
    )
    return MatchedRows(matching, (note,), num_shared, None, None, 1)


def _entities_in(vocabulary: Vocabulary, rows_M: NDArray[np.int64], num_rows: int, threads: int) -> NDArray[np.int64]:
    """Indices of the entities whose rows are among some of a table's, ascending."""
    is_wanted_V = np.zeros(num_rows, np.bool_)
    is_wanted_V[rows_M] = True
    return rows_among(vocabulary.rows_N, is_wanted_V, threads=threads)


def _shown(vocabulary: Vocabulary, indices: NDArray[np.int64], num: int) -> tuple[Entity, ...]:
    if vocabulary.counts_N is None:
        return entities_at(vocabulary, indices[:num].tolist())
    best = largest(vocabulary.counts_N[indices], num, vocabulary.rows_N[indices])
    return entities_at(vocabulary, indices[best].tolist())

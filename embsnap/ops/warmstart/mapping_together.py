"""Which old row each row of one new table takes, found by several processes together.

Each of R processes reads 1/R of both vocabularies' row groups. It sends every old entity to the process that its id is
hashed to, asks there for the old rows of its new entities, and sends these to whoever wants their new rows. What is
told of the vocabularies is summed up, so that it is what one process would tell.

Only what is right is found here. Of vocabularies with any error nothing is told but that there is one: then every
process maps the whole table, and that finds the words.

Shape suffixes: N entities in hand, M of them wanted here, V rows of the new table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embsnap.config.embedding import EmbeddingBagConfig
from embsnap.errors import IncompatibleError, NotFoundError
from embsnap.formats.id_arrays import take_ids
from embsnap.formats.vocabulary import VocabularyFiles
from embsnap.kernels.hashing import add_sums, fingerprint_sums, id_keys
from embsnap.kernels.join import duplicates_of, join
from embsnap.kernels.rows import HeldRows
from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import Ids, Vocabulary
from embsnap.ops.vocabulary import gap_notes
from embsnap.ops.vocabulary_findings import gaps
from embsnap.ops.warmstart.donors import donor_row, needs_occupied_rows, old_rows_of
from embsnap.ops.warmstart.new_vocabulary import reserved_range
from embsnap.ops.warmstart.peers import Peers, Share, alike
from embsnap.ops.warmstart.result import Alignment, RowCounts
from embsnap.ops.warmstart.routes import route_by_id, route_by_row
from embsnap.ops.warmstart.shared_vocabulary import SharedVocabulary, read_shared
from embsnap.ops.warmstart.sources import OldTable, Sources, recorded_vocabulary
from embsnap.ops.warmstart.table_mapping import TableMapping

__all__ = ["map_together"]

_PASSES = 4
"""Beside the vocabularies a quarter of the keys at a time is enough."""


class _Home(NamedTuple):
    """The old entities whose ids are hashed to this process."""

    ids: Ids
    rows_N: NDArray[np.int64]


class _Found(NamedTuple):
    """What one process has to tell of its part of the new vocabulary, and of the ids that are hashed to it."""

    carried: int
    new: int
    has_duplicates: bool
    carried_weight: int
    weight: int
    donor_row: int
    """Of the donor that the initializer names by its id; -1 where it is not here."""


def map_together(
    table: EmbeddingBagConfig, old: OldTable | None, sources: Sources, share: Share, threads: int
) -> TableMapping | None:
    """Map a table that follows its vocabulary, or starts cold with one; the new rows that this process wants of it.

    Args:
        table: The new table's config, with a vocabulary.
        old: What it starts from; None for a cold start.
        sources: Opens vocabularies.
        share: The peers, and the rows wanted here.
        threads: Of the kernels.

    Returns:
        The mapping, of which `row_V` is filled in for wanted rows only; None where something is wrong with the
        vocabularies, or their rows are too far apart to keep a bit for each: the same on all peers.

    Raises:
        EmbsnapError: As reading a vocabulary raises it; `object-replaced`: the peers have found different ones.
    """
    peers = share.peers
    old_files = None if old is None else _opened(peers, partial(sources.old_files, table, old), table)
    new_files = _opened(peers, partial(sources.new_files, table), table)
    if old_files is not None and old_files.layout.id_type is not new_files.layout.id_type:
        return None
    read = partial(read_shared, peers=peers, threads=threads, progress=sources.progress)
    # In a vocabulary in the order of its rows, the part of this process has the rows of its shard.
    new_side = read(new_files, table.num_embeddings, part=peers.rank)
    old_side = new_side
    if old_files is not None and old is not None and not _is_same(old_files, new_files, old, table):
        old_side = read(old_files, old.table.num_embeddings, part=peers.size - 1 - peers.rank)
    if new_side is None or old_side is None or _reserves_held_rows(table, new_side.held):
        return None
    recorded = None if old is None else recorded_vocabulary(old)
    if recorded is not None and recorded.fingerprint != old_side.ref.fingerprint:
        return None
    joining = _Joining(table, None if old is None else old_side, new_side, share, threads)
    del old_side, new_side  # it lets go of them as it goes on
    return joining.run()


def _opened(peers: Peers, open_files: Callable[[], VocabularyFiles], table: EmbeddingBagConfig) -> VocabularyFiles:
    """The files, of which every peer sees the same ones: what the peers ask of each other next depends on them."""
    return alike(peers, open_files, _told, f"table {table.name}")


def _told(files: VocabularyFiles) -> str:
    num_entities, layout = sum(file.num_rows for file in files.objects), files.layout
    columns = ", ".join(filter(None, (layout.id, layout.row, layout.count, layout.donor)))
    return f"{files.uri} with {num_entities} ids of {layout.id_type} (files {len(files.objects)}, columns {columns})"


def _is_same(old_files: VocabularyFiles, new_files: VocabularyFiles, old: OldTable, table: EmbeddingBagConfig) -> bool:
    """Whether the new vocabulary is the old one, so that it need not be read twice."""
    sides = [(files.uri, files.layout.id, files.layout.row) for files in (old_files, new_files)]
    return sides[0] == sides[1] and old.table.num_embeddings == table.num_embeddings


def _reserves_held_rows(table: EmbeddingBagConfig, held: HeldRows) -> bool:
    start, end = reserved_range(table) or (0, 0)
    return end > table.num_embeddings or bool(len(held.rows(start, end)))


class _Joining:
    """The join of one table."""

    def __init__(
        self, table: EmbeddingBagConfig, old: SharedVocabulary | None, new: SharedVocabulary, share: Share, threads: int
    ) -> None:
        self._table, self._old, self._new, self._peers, self._threads = table, old, new, share.peers, threads
        self._own = share.rows_of(table.name, table.num_embeddings)
        self._wanted = self._peers.agree(lambda: self._own)
        self._is_unchanged = old is not None and old.ref.fingerprint == new.ref.fingerprint
        self._has_duplicates = False

    def run(self) -> TableMapping | None:
        """The mapping, or None where something is wrong with the ids."""
        part, home = self._new.part, None
        if self._old is None or self._is_unchanged:
            old_row_N = np.full(len(part), -1) if self._old is None else part.rows_N
            came = route_by_id(self._peers, part.ids, self._threads).send_ids(part.ids)
            self._has_duplicates = duplicates_of(came, threads=self._threads).count > 0
        else:
            home = self._homed(self._old.part)
            self._old = self._old.without_ids()
            old_row_N = self._ask(home, part.ids)
        found = self._peers.agree(partial(self._found, old_row_N, home))
        if any(one.has_duplicates for one in found) or (
            self._old is not None and not any(one.carried for one in found)
        ):
            return None
        donor = max(one.donor_row for one in found) if self._names_donor else None
        if donor is not None and donor < 0:
            return None
        (at_N,) = np.nonzero(old_row_N < 0)
        columns: list[NDArray[Any]] = [id_keys(take_ids(part.ids, at_N), threads=self._threads)]
        donor_sums = None
        if part.donors is not None and self._old is not None:
            columns.append(self._donors(home, take_ids(part.donors, at_N)))
            sums = self._peers.agree(partial(fingerprint_sums, part.rows_N[at_N], columns[1]))
            donor_sums = add_sums(sums)
        new_rows_M, *columns = self._sent(part.rows_N[at_N], *columns)
        order = np.argsort(new_rows_M)
        return replace(
            self._mapping(found),
            row_V=None if self._old is None else self._row_map(part.rows_N, old_row_N),
            new_rows_N=new_rows_M[order],
            new_keys_N=columns[0][order],
            donor_row_N=columns[1][order] if len(columns) > 1 else None,
            donor_row=donor,
            donor_sums=donor_sums,
        )

    def _homed(self, part: Vocabulary) -> _Home:
        route = route_by_id(self._peers, part.ids, self._threads)
        return _Home(route.send_ids(part.ids), route.send(part.rows_N))

    def _ask(self, home: _Home, ids: Ids) -> NDArray[np.int64]:
        """The old row of each id, or -1."""

        def answer(asked: Ids) -> NDArray[np.int64]:
            num = len(asked)
            joined = join(*home, asked, np.arange(num), num, passes=_PASSES, threads=self._threads)
            self._has_duplicates = joined.old_duplicates.count + joined.new_duplicates.count > 0
            return joined.row_V

        return route_by_id(self._peers, ids, self._threads).ask(ids, answer)

    def _donors(self, home: _Home | None, donors: Ids) -> NDArray[np.int64]:
        """The old row of each donor, or -1."""
        if home is None:  # there are no new entities
            return np.empty(0, np.int64)

        def answer(asked: Ids) -> NDArray[np.int64]:
            return old_rows_of(asked, *home, self._threads)

        return route_by_id(self._peers, donors, self._threads).ask(donors, answer)

    def _sent(self, rows_N: NDArray[np.int64], *columns: NDArray[Any]) -> list[NDArray[Any]]:
        """New rows and what belongs to each, sent to whoever wants them: those wanted here."""
        route = route_by_row(self._peers, rows_N, self._wanted)
        return [route.send(column) for column in (rows_N, *columns)]

    @property
    def _names_donor(self) -> bool:
        donor = self._table.initializer.donor if self._table.initializer is not None else None
        return donor is not None and donor.id is not None and self._old is not None

    def _found(self, old_row_N: NDArray[np.int64], home: _Home | None) -> _Found:
        part, is_carried_N = self._new.part, old_row_N >= 0
        carried = int(np.count_nonzero(is_carried_N))
        counts_N = np.empty(0, np.int64) if part.counts_N is None else part.counts_N
        entities = part if home is None else replace(part, ids=home.ids, rows_N=home.rows_N)
        return _Found(
            carried,
            len(part) - carried,
            self._has_duplicates,
            int(counts_N[is_carried_N[: len(counts_N)]].sum()),
            int(counts_N.sum()),
            _row_of_donor(self._table, entities) if self._names_donor else -1,
        )

    def _row_map(self, rows_N: NDArray[np.int64], old_row_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """`int64[V]`, of which only what is written to takes memory: it is a map of its own."""
        row_V = np.frombuffer(mmap(-1, 8 * self._table.num_embeddings), np.int64)
        for start, end in (*self._own, reserved_range(self._table) or (0, 0)):
            row_V[start:end] = -1
        if self._is_unchanged:
            for start, end in self._own:
                rows_M = self._new.held.rows(start, end)
                row_V[rows_M] = rows_M
            return row_V
        rows_M, old_row_M = self._sent(rows_N, old_row_N)
        row_V[rows_M] = old_row_M
        return row_V

    def _mapping(self, found: Sequence[_Found]) -> TableMapping:
        """All of it but the rows."""
        table, old, new = self._table, self._old, self._new
        carried, num_new = sum(one.carried for one in found), sum(one.new for one in found)
        num_old = 0 if old is None else old.num_entities
        unoccupied = table.num_embeddings - carried - num_new
        weight = 0 if new.part.counts_N is None or old is None else sum(one.weight for one in found)
        return TableMapping(
            Alignment.COLD if old is None else Alignment.VOCABULARY,
            RowCounts(carried, num_new, num_old - carried, 0, unoccupied),
            old_rows_N=None if old is None or not needs_occupied_rows(table) else old.held.rows(),
            coverage=None if old is None else carried / (carried + num_new),
            weighted_coverage=sum(one.carried_weight for one in found) / weight if weight else None,
            vocabularies=(None if old is None else old.ref, new.ref),
            num_entities=-(-(num_old + new.num_entities) // self._peers.size),
            findings=_findings(table, old, new),
            num_mapped_rows=sum(end - start for start, end in self._own),
        )


def _row_of_donor(table: EmbeddingBagConfig, entities: Vocabulary) -> int:
    """Old row of the donor that the initializer names, if it is among these entities, else -1."""
    try:
        row = donor_row(table, entities)
    except (IncompatibleError, NotFoundError):
        return -1
    return -1 if row is None else row


def _findings(table: EmbeddingBagConfig, old: SharedVocabulary | None, new: SharedVocabulary) -> tuple[Finding, ...]:
    """As `align` has them, or of a cold start `check_new`."""
    num_rows, reserved, check = table.num_embeddings, reserved_range(table), new.held.check()
    told = replace(new.part, rows_N=new.held.rows(*reserved) if reserved is not None else new.part.rows_N)
    if old is None:
        return (*told.findings, *gaps(told, check, num_rows, reserved, Severity.NOTE))
    return (*old.part.findings, *told.findings, *gap_notes(told, check, num_rows, reserved, new.held.holes))

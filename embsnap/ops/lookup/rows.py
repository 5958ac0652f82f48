"""`embsnap lookup`: rows by entity id, in one snapshot or side by side in two.

Shape suffixes: N rows in hand, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, NotFoundError, UsageError
from embsnap.kernels.pairs import NON_FINITE, compare_rows, floats_of
from embsnap.kernels.reduce import row_norms
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import SILENT, Progress
from embsnap.model.row_lookup import FoundEntity, FoundRow, Neighbor, RowLookup, RowState, RowStep
from embsnap.model.table import StateLayout, TableState
from embsnap.model.vocab_inspection import Entity
from embsnap.ops.lookup.nearest import nearest_rows
from embsnap.ops.lookup.options import RowLookupOptions
from embsnap.ops.lookup.place import Place, open_place

__all__ = ["look_up_rows"]


def look_up_rows(uri: str, options: RowLookupOptions, *, progress: Progress = SILENT) -> RowLookup:
    """Read the rows of some entities, with their optimizer state, and nothing else of the tables.

    Ids that no vocabulary has are listed, and no error. With `neighbors` the whole table is read once.

    Raises:
        UsageError: `nothing-to-do`: neither ids nor rows are asked for.
        NotFoundError: No such snapshot or vocabulary; no such table or row, or several tables and none is named.
        SnapshotError: Not a committed, readable snapshot, or one whose objects are not what the manifest says.
        IncompatibleError: There is no vocabulary, or it does not fit.
        StorageError: The storage failed.
    """
    if not options.ids and not options.rows:
        raise UsageError(
            ErrorKind.NOTHING_TO_DO,
            "nothing to look up",
            where=uri,
            expected="at least one id or one row",
            hint="give --id, --row or --ids-from",
        )
    opened = partial(
        open_place,
        columns=options.columns,
        threads=options.threads,
        storage_options=options.storage_options,
        check=options.check,
    )
    place, other = opened(uri, options.table, options.vocab), None
    if options.against is not None:
        other = opened(options.against, options.table_against or place.table.name, options.vocab_against)
    asked, missing = _asked(place, options)
    pairs: _Pairs = [(found, None) for found in asked] if other is None else _paired(place, other, asked, missing)
    known_b = {text for text in missing if any(str(b.id) == text for _, b in pairs if b is not None)}
    rows_a = _read(place, [a for a, _ in pairs], options, progress)
    rows_b = [None] * len(pairs) if other is None else _read(other, [b for _, b in pairs], options, progress)
    place.snapshot.check_unchanged()
    if other is not None:
        other.snapshot.check_unchanged()
    entities = tuple(
        FoundEntity((a or b or _NOBODY).id, found_a, found_b, _step(found_a, found_b))
        for (a, b), found_a, found_b in zip(pairs, rows_a, rows_b, strict=True)
    )
    return RowLookup(
        table=place.described(),
        against=None if other is None else other.described(),
        entities=entities,
        missing=tuple(text for text in missing if text not in known_b),
        findings=(*_findings(place), *(() if other is None else _findings(other))),
    )


class _Asked:
    """One thing that was asked for, in one snapshot."""

    def __init__(self, row: int, entity: Entity | None) -> None:
        self.row, self.id = row, None if entity is None else entity.id
        self.count = None if entity is None else entity.count


_NOBODY = _Asked(-1, None)
_Pairs = list[tuple[_Asked | None, _Asked | None]]


def _asked(place: Place, options: RowLookupOptions) -> tuple[list[_Asked], list[str]]:
    """What the first snapshot has of it, ids before rows; and the ids that it does not have."""
    for row in options.rows:
        if not 0 <= row < place.table.num_embeddings:
            raise NotFoundError(
                ErrorKind.NO_SUCH_ENTITY,
                "the table has no such row",
                where=f"--row {row}",
                expected=f"a row below {place.table.num_embeddings}, as table {place.table.name} has",
            )
    found, missing = list[_Asked](), list[str]()
    if options.ids:
        looked_up = place.entities(options.ids, ())
        found += [_Asked(entity.row, entity) for entity in looked_up.entities]
        missing += looked_up.missing_ids
    entities = place.ids_of(options.rows)
    return found + [_Asked(row, entities.get(row)) for row in dict.fromkeys(options.rows)], missing


def _paired(place: Place, other: Place, asked: Sequence[_Asked], missing: Sequence[str]) -> _Pairs:
    """The same entities in the second snapshot, or the same rows where neither has a vocabulary."""
    if place.vocab is None and other.vocab is None:
        num_rows = other.table.num_embeddings
        return [(found, _Asked(found.row, None) if found.row < num_rows else None) for found in asked]
    if place.vocab is None:
        place.entities((), ())  # says that it has none, while the other rows are known by their entities
    texts = [*(str(found.id) for found in asked if found.id is not None), *missing]
    there = {str(entity.id): entity for entity in other.entities(texts, ()).entities} if texts else {}
    pairs: _Pairs = []
    for found in asked:
        entity = None if found.id is None else there.get(str(found.id))
        pairs.append((found, None if entity is None else _Asked(entity.row, entity)))
    return pairs + [(None, _Asked(there[text].row, there[text])) for text in missing if text in there]


def _read(
    place: Place, asked: Sequence[_Asked | None], options: RowLookupOptions, progress: Progress
) -> list[FoundRow | None]:
    """The rows of one snapshot, None for what it does not have."""
    reader = place.snapshot.reader(place.table.weight)
    here = [found for found in asked if found is not None]
    rows_N = np.array([found.row for found in here], np.int64)
    rows_ND = np.empty((len(here), reader.dim), reader.dtype)
    reader.gather(rows_N, rows_ND)
    floats_ND = floats_of(rows_ND)
    norms_N = row_norms(floats_ND)
    states = list(_states(place, rows_N)) if here else []
    state_N = [tuple(values[i] for values in states) for i in range(len(here))]
    neighbors_N: list[tuple[Neighbor, ...] | None] = [None] * len(here)
    if options.neighbors and here:
        task = f"neighbours in {place.table.name} of {place.snapshot.uri}"
        found_N = nearest_rows(
            reader, floats_ND, rows_N, options.neighbors, threads=options.threads, progress=progress, task=task
        )
        neighbors_N = list(_named(place, found_N))
    values = [
        FoundRow(found.row, found.count, tuple(map(float, floats)), float(norm), state, neighbors)
        for found, floats, norm, state, neighbors in zip(here, floats_ND, norms_N, state_N, neighbors_N, strict=True)
    ]
    left = iter(values)
    return [None if found is None else next(left) for found in asked]


def _states(place: Place, rows_N: NDArray[np.int64]) -> Iterator[list[RowState]]:
    """For each optimizer state that has rows, or is one number, what it holds for each of the rows."""
    for state in place.table.state:
        if state.layout is not StateLayout.OTHER:
            values = _state_values(place, state, rows_N)
            yield [RowState(state.name, tuple(map(float, row))) for row in values]


def _state_values(place: Place, state: TableState, rows_N: NDArray[np.int64]) -> NDArray[np.float64]:
    reader, num_rows = place.snapshot.reader(state.array), place.table.num_embeddings
    if state.layout is StateLayout.SINGLE:
        whole = np.empty((reader.num_rows, reader.dim), reader.dtype)
        reader.read(0, reader.num_rows, whole)
        return np.broadcast_to(whole.astype(np.float64).reshape(1, -1), (len(rows_N), whole.size))
    is_folded = state.layout is StateLayout.ROW_WISE_PER_COLUMN_SHARD
    runs = []
    for first in range(0, reader.num_rows if is_folded else 1, max(1, num_rows)):
        values_ND = np.empty((len(rows_N), reader.dim), reader.dtype)
        reader.gather(rows_N + first, values_ND)
        runs.append(values_ND.astype(np.float64))
    return np.concatenate(runs, axis=1)


def _named(
    place: Place, found_N: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]]
) -> Iterator[tuple[Neighbor, ...]]:
    entities = place.ids_of(row for rows, _ in found_N for row in rows.tolist())
    for rows, cosines in found_N:
        pairs = zip(rows.tolist(), cosines.tolist(), strict=True)
        yield tuple(Neighbor(entities[row].id if row in entities else None, row, cosine) for row, cosine in pairs)


def _step(a: FoundRow | None, b: FoundRow | None) -> RowStep | None:
    if a is None or b is None or len(a.values) != len(b.values):
        return None
    compared = compare_rows(np.array([a.values]), np.array([b.values]), np.ones(1, np.bool_))
    figures = (compared.distance_N[0], compared.cosine_N[0], compared.relative_N[0])
    distance, cosine, relative = (None if np.isnan(value) else float(value) for value in figures)
    kept = None
    if a.neighbors is not None and b.neighbors is not None:
        ids_a, ids_b = ({found.id for found in row.neighbors or () if found.id is not None} for row in (a, b))
        kept = len(ids_a & ids_b) if ids_a and ids_b else None
    return RowStep(None if compared.flags_N[0] & NON_FINITE else distance, cosine, relative, kept)


def _findings(place: Place) -> tuple[Finding, ...]:
    unread = [state.name for state in place.table.state if state.layout is StateLayout.OTHER]
    if not unread:
        return place.findings
    where = f"table {place.table.name} in {place.snapshot.uri}"
    message = f"optimizer state that has no rows is not shown: {', '.join(unread)}"
    return (*place.findings, Finding(Severity.NOTE, "state-without-rows", where, message))

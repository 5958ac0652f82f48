"""Rows without an entity that nothing declares, and entities in rows that may hold none.

Shape suffixes: N entities, H holes between rows that have an entity, R declared ranges.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind
from embsnap.kernels.rows import MAX_EXAMPLES
from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.vocabulary_findings import ROW_GAPS, entity_text

__all__ = ["RowRange", "holes_of", "taken_rows", "undeclared_gaps"]

_MAX_ROW = 2**63 - 1

RowRange = tuple[int, int]
"""Half-open."""


def holes_of(rows_N: NDArray[np.int64], num_rows: int | None) -> NDArray[np.int64]:
    """`int64[H, 2]`: half-open ranges of rows without an entity below the last row that has one.

    Args:
        rows_N: Of the entities, in any order.
        num_rows: Of the table; entities beyond it do not count. None if it has as many as it needs.
    """
    held = np.sort(rows_N if num_rows is None else rows_N[rows_N < num_rows])
    before = np.concatenate([np.array([-1], np.int64), held[:-1]]) if len(held) else held
    (at,) = np.nonzero(held > before + 1)
    return np.stack([before[at] + 1, held[at]], axis=1)


def undeclared_gaps(uri: str, holes_H2: NDArray[np.int64], declared: Iterable[RowRange]) -> list[Finding]:
    """An error if some rows without an entity are in none of the declared ranges.

    Args:
        uri: Of the vocabulary.
        holes_H2: As `holes_of` finds them.
        declared: Rows that need no entity.
    """
    ranges_R2 = _merged(declared)
    missing_H = (holes_H2[:, 1] - holes_H2[:, 0]) - (
        _num_declared(ranges_R2, holes_H2[:, 1]) - _num_declared(ranges_R2, holes_H2[:, 0])
    )
    count = int(missing_H.sum())
    if not count:
        return []
    holes = [(int(start), int(end)) for start, end in holes_H2[np.flatnonzero(missing_H)[:MAX_EXAMPLES]]]
    pieces = [piece for hole in holes for piece in _without(hole, ranges_R2)][:MAX_EXAMPLES]
    examples = tuple(f"rows [{start}, {end})" for start, end in pieces)
    message = f"{count:,} {'row has' if count == 1 else 'rows have'} no entity, while later rows have one"
    remedy = "number the entities without gaps, or declare the rows with --reserved"
    return [Finding(Severity.ERROR, ROW_GAPS, uri, message, remedy, count, examples)]


def taken_rows(vocabulary: Vocabulary, special: Iterable[RowRange]) -> list[Finding]:
    """An error if entities stand in rows that are reserved or for unknown ids."""
    ranges_R2 = _merged(special)
    if not len(ranges_R2):
        return []
    rows_N = vocabulary.rows_N
    last_N = np.searchsorted(ranges_R2[:, 0], rows_N, side="right") - 1
    (at,) = np.nonzero((last_N >= 0) & (rows_N < ranges_R2[last_N, 1]))
    if not len(at):
        return []
    message = f"{len(at):,} {'entity has' if len(at) == 1 else 'entities have'} a row that is reserved or for OOV ids"
    examples = tuple(f"row {rows_N[i]} of {entity_text(vocabulary, i)}" for i in at[:MAX_EXAMPLES].tolist())
    remedy = "give those entities other rows, or correct what is declared"
    kind = ErrorKind.BAD_VOCABULARY.value
    return [Finding(Severity.ERROR, kind, vocabulary.uri, message, remedy, len(at), examples)]


def _merged(ranges: Iterable[RowRange]) -> NDArray[np.int64]:
    """`int64[R, 2]`: the same rows as ascending ranges that do not touch."""
    merged: list[list[int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        elif start < end:
            merged.append([start, end])
    return np.array([[start, min(end, _MAX_ROW)] for start, end in merged], np.int64).reshape(-1, 2)


def _num_declared(ranges_R2: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many declared rows there are below each of `rows`."""
    lengths = ranges_R2[:, 1] - ranges_R2[:, 0]
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    at = np.searchsorted(ranges_R2[:, 0], rows, side="right")
    last = np.maximum(at - 1, 0)
    if not len(ranges_R2):
        return np.zeros(len(rows), np.int64)
    beyond = np.maximum(0, ranges_R2[last, 1] - rows)
    return np.where(at > 0, before[at] - np.minimum(beyond, lengths[last]), 0)


def _without(hole: RowRange, ranges_R2: NDArray[np.int64]) -> list[RowRange]:
    """What of a range is in none of some ascending ranges."""
    start, end = hole
    pieces = []
    for first, stop in ranges_R2:
        if first >= end:
            break
        if stop > start:
            pieces.append((start, min(int(first), end)))
            start = max(start, int(stop))
    return [(first, stop) for first, stop in [*pieces, (start, end)] if first < stop]

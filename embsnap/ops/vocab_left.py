"""Who had a row in a vocabulary and has none any more.

Shape suffixes: L entities that left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.formats.id_arrays import concat_ids, take_ids
from embsnap.formats.vocabulary_writer import id_arrow_type
from embsnap.model.vocabulary import BytesIds, Ids, IdType, Vocabulary
from embsnap.ops.vocabulary_findings import entity_text

__all__ = ["Left", "LeftEntity", "Reason", "who_left"]

_EXAMPLES = 10


class Reason(StrEnum):
    """Why an entity has no row any more."""

    EVICTED = "evicted"
    MISSING = "missing"
    MERGED = "merged"


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """Entities that had a row and have none any more, those of one reason together."""

    ids: Ids
    rows_L: NDArray[np.int64]
    """That they had."""
    counts_L: NDArray[np.int64]
    reasons: tuple[tuple[Reason, int], ...]
    """How many of each, in their order."""
    id_type: IdType

    def examples(self) -> tuple[LeftEntity, ...]:
        """The first few of each reason, by row."""
        return _examples(self)

    def columns(self) -> dict[str, tuple[Any, Ids]]:
        """Arrow types and values by name: id, row, count, reason."""
        return _columns(self)

    def num(self, reason: Reason) -> int:
        """How many left for that reason."""
        return dict(self.reasons)[reason]


@dataclass(frozen=True, slots=True)
class LeftEntity:
    """One of them."""

    id: str
    row: int
    count: int
    reason: Reason


_Part = tuple[Ids, NDArray[np.int64], NDArray[np.int64]]


def who_left(old: Vocabulary, *, evicted: _Part, missing: _Part, merged: NDArray[np.int64]) -> Left:
    """Put the lists together.

    Args:
        old: The vocabulary they were in.
        evicted: Ids, rows and counts of those beyond the size.
        missing: Of those not seen again.
        merged: Indices in `old` of those whose id is one with another's now.
    """
    counts_N = np.zeros(len(old), np.int64) if old.counts_N is None else old.counts_N
    parts = (evicted, missing, (take_ids(old.ids, merged), old.rows_N[merged], counts_N[merged]))
    return Left(
        ids=concat_ids([ids for ids, _, _ in parts]),
        rows_L=np.concatenate([rows for _, rows, _ in parts]),
        counts_L=np.concatenate([counts for _, _, counts in parts]),
        reasons=tuple((reason, len(rows)) for reason, (_, rows, _) in zip(Reason, parts, strict=True)),
        id_type=old.id_type,
    )


def _examples(left: Left) -> tuple[LeftEntity, ...]:
    shown = Vocabulary("", left.id_type, left.ids, left.rows_L)
    examples, start = list[LeftEntity](), 0
    for reason, num in left.reasons:
        first = start + np.argsort(left.rows_L[start : start + num], kind="stable")[:_EXAMPLES]
        examples += [
            LeftEntity(entity_text(shown, i), int(left.rows_L[i]), int(left.counts_L[i]), reason)
            for i in first.tolist()
        ]
        start += num
    return tuple(examples)


def _columns(left: Left) -> dict[str, tuple[Any, Ids]]:
    return {
        "id": (id_arrow_type(left.id_type), left.ids),
        "row": (pa.int64(), left.rows_L),
        "count": (pa.int64(), left.counts_L),
        "reason": (pa.string(), _repeated(left.reasons)),
    }


def _repeated(reasons: tuple[tuple[Reason, int], ...]) -> BytesIds:
    """The reason of each entity as text."""
    data = b"".join(reason.value.encode() * num for reason, num in reasons)
    lengths = np.repeat([len(reason.value) for reason, _ in reasons], [num for _, num in reasons])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return BytesIds(offsets, np.frombuffer(data, np.uint8))

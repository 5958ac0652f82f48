"""A vocabulary in memory: entity ids and the row of each.

Shape suffixes: N entities, V rows of the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from embsnap.model.findings import Finding

__all__ = ["BytesIds", "IdType", "Ids", "Vocabulary"]


class IdType(StrEnum):
    """Type of entity ids. Ids of different types never match; they are refused side by side."""

    INT64 = "int64"
    UINT64 = "uint64"
    STRING = "string"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class BytesIds:
    """N ids of variable length: id i is `data[offsets[i]:offsets[i + 1]]` (UTF-8 for strings)."""

    offsets: NDArray[np.int64]
    """`int64[N + 1]`; the first need not be 0."""
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> bytes:
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()


Ids = NDArray[np.int64] | NDArray[np.uint64] | BytesIds


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """N entities of one table, in file order.

    Built by `embsnap.formats.vocabulary.read_vocabulary`, which has checked that no id and no row is null or
    negative; duplicates and rows beyond a table are found by `embsnap.kernels` and reported before anything
    is written.
    """

    uri: str
    id_type: IdType
    ids: Ids
    rows_N: NDArray[np.int64]
    """Row of each entity, each ≥ 0."""
    counts_N: NDArray[np.int64] | None = None
    """How often each entity was seen, where the files say."""
    donors: Ids | None = None
    """Old entity id that a new row starts from, where a donor column was asked for."""
    findings: tuple[Finding, ...] = field(default=())
    """Warnings and notes of reading it."""

    def __len__(self) -> int:
        return len(self.rows_N)

"""A vocabulary in memory: entity ids and the row of each.

Shape suffixes: N entities, V rows of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.model.findings import Finding

__all__ = ["NEVER_SEEN", "BytesIds", "Declared", "IdType", "Ids", "Vocabulary"]

NEVER_SEEN = -(2**63)
"""Stands for a time that is not known; null in files."""


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


@dataclass(frozen=True, slots=True)
class Declared:
    """What the parquet metadata of a vocabulary says about it. Ranges of rows are half-open, `(start, end)`."""

    fingerprint: str | None = None
    """Of the vocabulary as it was written."""
    num_rows: int | None = None
    """Rows that its table needs; None where whatever wrote it did not lay out the rows."""
    reserved: tuple[tuple[int, int], ...] = ()
    """Rows for padding, nulls and the like, which no entity may have."""
    free: tuple[tuple[int, int], ...] = ()
    """Rows in here that have no entity may be given to one."""
    oov: tuple[int, int] | None = None
    """Rows for unknown ids."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """`tool`, `command`, `inputs` and `options`, as JSON values."""

    @property
    def special(self) -> tuple[tuple[int, int], ...]:
        """Reserved and OOV rows."""
        return (*self.reserved, *(() if self.oov is None else (self.oov,)))


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
    last_seen_N: NDArray[np.int64] | None = None
    """When each entity was last seen, in `last_seen_type`, where the files say; `NEVER_SEEN` where that is null."""
    last_seen_type: str = "int64"
    """`int64`, or an Arrow timestamp such as `timestamp[us]` or `timestamp[ms, tz=UTC]`."""
    declared: Declared | None = None
    """What its files' metadata says, where they carry it."""

    def __len__(self) -> int:
        return len(self.rows_N)

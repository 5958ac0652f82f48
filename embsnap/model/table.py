"""A table: a named `[num_embeddings, embedding_dim]` array over pieces in storage, with its optimizer state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod

from embsnap.model.dtypes import DType

__all__ = ["Piece", "Sharding", "StateLayout", "StoredArray", "Table", "TableState"]


class Sharding(StrEnum):
    """How a table lies over ranks, read off its pieces."""

    WHOLE = "whole"
    """One piece on one rank, in a snapshot of one rank."""
    TABLE_WISE = "table-wise"
    """On one rank, while other ranks list it with no shards."""
    ROW_WISE = "row-wise"
    COLUMN_WISE = "column-wise"
    GRID = "grid"
    """Cut both ways."""
    DATA_PARALLEL = "data-parallel"
    """A whole copy on each rank."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of an array with its own bytes, C-contiguous, little-endian."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    location: str
    """Object, relative to the snapshot's root."""
    start: int
    """First byte in the object."""
    end: int | None
    """One past the last byte; None where the manifest leaves it to the object's size."""
    rank: int
    """Rank whose manifest lists it (the lowest, where several do)."""


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An n-dimensional array whose pieces cover it exactly, each element once."""

    path: str
    """Logical path, without the rank: `model/ebc.embedding_bags.user.weight`."""
    dtype: DType
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    """Sorted by offsets."""
    form: str
    """Entry type that holds it: Tensor, ChunkedTensor, ShardedTensor or DTensor."""

    @property
    def num_bytes(self) -> int:
        """Of the elements, each counted once."""
        return prod(self.shape) * self.dtype.itemsize


class StateLayout(StrEnum):
    """What one optimizer state holds for each row of its table."""

    ELEMENT_WISE = "element-wise"
    """The table's own shape (Adagrad, Adam)."""
    ROW_WISE = "row-wise"
    """One value per row: `[V]` or `[V, 1]` (RowWiseAdagrad)."""
    ROW_WISE_PER_COLUMN_SHARD = "row-wise-per-column-shard"
    """`[C * V]`: one run of V values per column shard of a column-wise table."""
    SINGLE = "single"
    """No rows in it: a step counter."""
    OTHER = "other"
    """None of these; it cannot follow a row map."""


@dataclass(frozen=True, slots=True)
class TableState:
    """One optimizer state of a table."""

    name: str
    """`momentum1`, `exp_avg_sq`, `sum`, `step`, …: without the table's own name."""
    array: StoredArray
    layout: StateLayout


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a snapshot."""

    name: str
    """As torchrec knows it: `user`."""
    weight: StoredArray
    state: tuple[TableState, ...]
    sharding: Sharding
    ranks: tuple[int, ...]
    """Ranks that hold a piece of it."""

    @property
    def num_embeddings(self) -> int:
        """Rows."""
        return self.weight.shape[0]

    @property
    def embedding_dim(self) -> int:
        """Columns."""
        return self.weight.shape[1]

"""Tables for tests: arrays as row sources, and snapshots written from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.dtypes import from_numpy
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.table import StoredArray
from embsnap.storage.uri import open_store

__all__ = ["ArrayRows", "read_array", "write_arrays"]


@dataclass(frozen=True, slots=True, eq=False)
class ArrayRows:
    """A `[V, D]` array in memory as a row source."""

    rows_VD: NDArray[Any]

    @property
    def num_rows(self) -> int:
        """V."""
        return len(self.rows_VD)

    @property
    def dim(self) -> int:
        """D."""
        return int(self.rows_VD.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return self.rows_VD.dtype

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Copy the rows `[start, end)`."""
        out_ND[...] = self.rows_VD[start:end]


def write_arrays(
    uri: str, weights: Mapping[str, NDArray[Any]], state: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """A snapshot of tables and optimizer state.

    Args:
        uri: Its root.
        weights: `[V, D]` by table name; their state keys are those of `LargeEmbeddings`.
        state: One- or two-dimensional, by logical path.
    """
    arrays = [
        ArrayToWrite(f"model/ebc.embedding_bags.{name}.weight", from_numpy(rows.dtype), rows.shape, ArrayRows(rows))
        for name, rows in weights.items()
    ]
    arrays += [
        ArrayToWrite(path, from_numpy(rows.dtype), rows.shape, ArrayRows(rows.reshape(len(rows), -1)), "tensor")
        for path, rows in (state or {}).items()
    ]
    write_snapshot(open_store(uri), arrays, plan_digest="0" * 64)


def read_array(snapshot: Snapshot | str, array: StoredArray | str) -> NDArray[Any]:
    """A whole array of a snapshot, in its own shape; a table's weight by the table's name."""
    if isinstance(snapshot, str):
        snapshot = open_snapshot(snapshot)
    if isinstance(array, str):
        array = snapshot.array(array) if "/" in array else snapshot.table(array).weight
    reader = snapshot.reader(array)
    rows_VD = np.empty((reader.num_rows, reader.dim), reader.dtype)
    reader.read(0, reader.num_rows, rows_VD)
    return rows_VD.reshape(array.shape)

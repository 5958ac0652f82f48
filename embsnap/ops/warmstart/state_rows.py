"""The rows of an optimizer state that follow their table's.

Shape suffixes: V rows of the new table, D embedding_dim, N rows in hand, C column shards.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.config.policies import ColumnStateRule
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.formats.torchsnapshot.sweeping import Put
from embsnap.ops.warmstart.fetching import Fetching

__all__ = ["CarriedState", "FoldedState"]


@dataclass(frozen=True, slots=True, eq=False)
class CarriedState:
    """An optimizer state that follows its table's rows; other rows get the initial state, zero."""

    num_rows: int
    dim: int
    dtype: np.dtype[Any]
    old: ArrayReader
    row_V: NDArray[np.int64] | None
    """As the table's; None carries by position."""
    fetching: Fetching | None = None
    """Where they follow a row map."""
    initial: float = 0.0
    """Of rows without an old one."""

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND` with the state of the new rows `[start, end)`."""
        if self.row_V is None:
            self.old.read(start, end, out_ND)
            return
        out_ND[...] = self.initial
        with nullcontext() if self.fetching is None else self.fetching.reading(end - start):
            self.old.gather(self.row_V[start:end], out_ND)

    def wanted(self, start: int, end: int) -> list[NDArray[np.int64]]:
        """The old rows of the new rows `[start, end)`, where they follow a row map; negative ones are none."""
        return [] if self.row_V is None else [self.row_V[start:end]]

    @property
    def is_swept(self) -> bool:
        """Whether `sweep` is the way to have all rows: they follow a row map, out of storage that cannot map."""
        return self.row_V is not None and not self.old.is_mapped

    def sweep(self, start: int, end: int, put: Put) -> None:
        """Hand out the state of those new rows `[start, end)` that have an old one, in the order of storage.

        Args:
            start: First new row.
            end: One past the last.
            put: As for `ArrayReader.sweep`; places are counted from `start`.
        """
        assert self.row_V is not None
        self.old.sweep(self.row_V[start:end], put)


@dataclass(frozen=True, slots=True, eq=False)
class FoldedState:
    """Row-wise state of a column-wise table: C runs of one value per old row, folded into one.

    Each column shard kept its own sum of squared gradients over its own columns, divided by its own width. Their mean
    weighted by those widths is what one shard of all these columns would have kept, and the state of a shard with the
    same columns as before is carried as it is.
    """

    num_rows: int
    num_old_rows: int
    dtype: np.dtype[Any]
    old: ArrayReader
    row_V: NDArray[np.int64] | None
    cuts: tuple[int, ...]
    """The column at which each of the C shards begins, ascending."""
    num_columns: int
    """D."""
    columns: range
    """Of the new table, whose state is asked for; any number of them."""
    rule: ColumnStateRule = ColumnStateRule.MEAN
    dim: int = 1
    fetching: Fetching | None = None
    initial: float = 0.0
    """Of rows without an old one."""

    @property
    def is_exact(self) -> bool:
        """Whether the columns asked for are those of one shard, whose values are carried as they are."""
        return (self.columns.start, self.columns.stop) in pairwise((*self.cuts, self.num_columns))

    def wanted(self, start: int, end: int) -> list[NDArray[np.int64]]:
        """The old values that the state of the new rows `[start, end)` is made of, by shard; negative ones are none."""
        row_N = np.arange(start, end) if self.row_V is None else self.row_V[start:end]
        return [np.where(row_N >= 0, row_N + shard * self.num_old_rows, -1) for shard in self._widths()]

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND` `[end - start, 1]` with the state of the new rows `[start, end)`."""
        with nullcontext() if self.fetching is None else self.fetching.reading(end - start):
            self._fold(start, end, out_ND)

    def _fold(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        widths = self._widths()
        sum_N = np.zeros((end - start, 1), np.float64)
        shard_N = np.zeros((end - start, 1), self.old.dtype)
        wanted = self.wanted(start, end)
        for old_N, width in zip(wanted, widths.values(), strict=True):
            self.old.gather(old_N, shard_N)
            sum_N += shard_N.astype(np.float64) * width
        folded_N = (sum_N / sum(widths.values())).astype(self.dtype)
        out_ND[...] = np.where(wanted[0][:, None] >= 0, folded_N, self.dtype.type(self.initial))

    def _widths(self) -> dict[int, int]:
        """Old column shard → how many of its columns are asked for."""
        ends = [*self.cuts[1:], self.num_columns]
        shared = (
            min(end, self.columns.stop) - max(begin, self.columns.start)
            for begin, end in zip(self.cuts, ends, strict=True)
        )
        widths = {shard: width for shard, width in enumerate(shared) if width > 0}
        return widths if self.rule is ColumnStateRule.MEAN else dict([next(iter(widths.items()))])

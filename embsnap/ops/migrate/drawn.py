"""Rows that are drawn: by the entity that holds them, or by their index where none does.

Shape suffixes: V rows of a table, D its columns, N rows in hand, M rows of new entities.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.hashing import id_keys
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.migrate.nodes import RowNode, StoredRows
from embsnap.ops.warmstart.initial_rows import InitialRows

__all__ = ["DrawnRows", "RowKeys"]

_ROW_SALT = np.uint64(0xD6E8FEB86659FD93)
"""As `kernels.hashing.row_keys` has it: `row_keys(r, r + 1)` is `id_keys([r ^ salt])`."""


class RowKeys:
    """What the rows of a table are drawn from."""

    def __init__(self, rows_M: NDArray[np.int64], keys_M: NDArray[np.uint64]) -> None:
        """The rows of entities, ascending, and a key of each; all others are drawn by their index."""
        self.rows_M, self.keys_M = rows_M, keys_M

    @classmethod
    def of(cls, vocabulary: Vocabulary | None, *, threads: int = 1) -> RowKeys:
        """Of every entity of a vocabulary."""
        if vocabulary is None:
            return cls(np.empty(0, np.int64), np.empty(0, np.uint64))
        order = np.argsort(vocabulary.rows_N, kind="stable")
        return cls(vocabulary.rows_N[order], id_keys(vocabulary.ids, threads=threads)[order])

    def __getitem__(self, rows_N: NDArray[np.int64]) -> NDArray[np.uint64]:
        """`uint64[N]`: the keys of these rows."""
        keys_N = id_keys(rows_N.astype(np.uint64) ^ _ROW_SALT)
        if len(self.rows_M):
            places_N = np.minimum(np.searchsorted(self.rows_M, rows_N), len(self.rows_M) - 1)
            held_N = self.rows_M[places_N] == rows_N
            keys_N[held_N] = self.keys_M[places_N[held_N]]
        return keys_N


class DrawnRows(RowNode):
    """A table of initial rows; those of an entity with a donor start from the donor's row instead."""

    def __init__(
        self,
        initial: InitialRows,
        keys: RowKeys,
        num_rows: int,
        dim: int,
        dtype: np.dtype[Any],
        donors: tuple[RowNode, NDArray[np.int64]] | None = None,
    ) -> None:
        """`donors` is a node and, for each row of `keys`, the row of it to start from, or -1."""
        self.initial, self.keys, self.donors = initial, keys, donors
        self.num_rows, self.dim, self.dtype = num_rows, dim, dtype

    def gather(self, rows_N: NDArray[np.int64], out_ND: NDArray[Any]) -> None:
        """Draw them."""
        positions_N = np.flatnonzero(rows_N >= 0)
        if not len(positions_N):
            return
        wanted_N = rows_N[positions_N]
        drawn_ND = self.initial.draw(self.keys[wanted_N], self.dim, self.dtype)
        if self.donors is not None:
            self._donate(self.donors[0], self._donor_rows(wanted_N), drawn_ND)
        out_ND[positions_N] = drawn_ND

    def _donor_rows(self, rows_N: NDArray[np.int64]) -> NDArray[np.int64]:
        assert self.donors is not None
        if not len(self.keys.rows_M):
            return np.full(len(rows_N), -1)
        places_N = np.minimum(np.searchsorted(self.keys.rows_M, rows_N), len(self.keys.rows_M) - 1)
        return np.where(self.keys.rows_M[places_N] == rows_N, self.donors[1][places_N], -1)

    def _donate(self, donor: RowNode, donor_N: NDArray[np.int64], out_ND: NDArray[Any]) -> None:
        found_N = np.flatnonzero(donor_N >= 0)
        if len(found_N):
            rows_ND = np.empty((len(found_N), self.dim), self.dtype)
            donor.gather(donor_N[found_N], rows_ND)
            out_ND[found_N] = self.initial.donate(rows_ND, self.dtype)

    def leaves(self, rows_N: NDArray[np.int64]) -> Iterator[tuple[StoredRows, NDArray[np.int64]]]:
        """Those of the donors."""
        if self.donors is None:
            return
        donor_N = np.full(len(rows_N), -1)
        positions_N = np.flatnonzero(rows_N >= 0)
        donor_N[positions_N] = self._donor_rows(rows_N[positions_N])
        yield from self.donors[0].leaves(donor_N)

"""Rows for entities that the old table does not know, drawn by the table's initializer.

The value of element (i, j) depends on the seed, the table's name, the entity of row i (or the row itself, where no
entity holds it) and j, and on nothing else: not on order, blocks, threads or device.

Shape suffixes: D embedding_dim, N rows in hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.config.embedding import EmbeddingBagConfig
from embsnap.config.initializer import (
    ConstantInit,
    DonorInit,
    MeanCovarianceInit,
    MeanInit,
    NormalInit,
    TruncatedNormalInit,
    UniformInit,
    ZerosInit,
)
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.initialize import (
    Constant,
    Distribution,
    MultivariateNormal,
    Normal,
    TruncatedNormal,
    Uniform,
    clip_norms,
    fill,
    largest_magnitude,
    table_key,
)
from embsnap.kernels.reduce import BLOCK_ROWS, Moments, RowMoments
from embsnap.model.rows import GatherSource
from embsnap.ops.warmstart.casting import cast_rows, is_floating, largest
from embsnap.ops.warmstart.peers import ALONE, Peers, together

__all__ = ["InitialRows", "OldRows", "resolve_initializer"]

_BLOCKS_AT_A_TIME = 8
"""Of each peer, before the others hear of them."""


@dataclass(frozen=True, slots=True)
class InitialRows:
    """Draws rows of one table."""

    spec: Distribution
    table: str
    """Its name."""
    seed: int
    max_norm: float | None
    description: str
    """As plan and report name it."""

    def draw(self, keys_N: NDArray[np.uint64], dim: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """`[N, dim]` of `dtype`: drawn in float64, rounded once to float32 (float64 tables keep it), then cast.

        Raises:
            IncompatibleError: `cast-overflow`, `not-representable`: `dtype` does not hold a drawn value.
        """
        is_safe = is_floating(dtype) and largest_magnitude(self.spec) <= largest(dtype)
        wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        rows_ND = np.empty((len(keys_N), dim), wide if is_safe else np.float64)
        fill(rows_ND, keys_N, table_key=table_key(self.table), seed=self.seed, spec=self.spec)
        if self.max_norm is not None:
            clip_norms(rows_ND, self.max_norm)
        return rows_ND.astype(dtype, copy=False) if is_safe else self._cast(self._cast(rows_ND, wide), dtype)

    def donate(self, rows_ND: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Old rows that others start from, none longer than `max_norm`, as `dtype`.

        Raises:
            IncompatibleError: As for `draw`.
        """
        if self.max_norm is not None:
            rows_ND = rows_ND.astype(np.float64 if rows_ND.dtype == np.float64 else np.float32, copy=False)
            clip_norms(rows_ND, self.max_norm)
        return rows_ND if rows_ND.dtype == dtype else self._cast(rows_ND, dtype)

    def _cast(self, rows_ND: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        return cast_rows(
            rows_ND,
            dtype,
            place_of=lambda _row, _column: f"table {self.table}, new rows by {self.description}",
            hint="choose another initializer (zeros fits every type), or another data_type",
        )


@dataclass(frozen=True, slots=True, eq=False)
class OldRows:
    """What an initializer may need of the old table."""

    rows: GatherSource
    where: str
    """What they are, for errors."""
    occupied_N: NDArray[np.int64] | None
    """Rows that an entity holds; None for all."""
    donor_row: int | None
    """Row of the configured donor id."""
    peers: Peers = ALONE
    """Who ask for the same."""

    def moments(self, *, covariance: bool) -> Moments:
        """Mean (and covariance) of the occupied rows: one pass by all peers, 65,536 rows at a time in float64.

        Raises:
            IncompatibleError: `not-finite`.
        """
        rows_N = np.arange(self.rows.num_rows) if self.occupied_N is None else np.sort(self.occupied_N)
        if not len(rows_N):
            raise IncompatibleError(
                ErrorKind.NOT_FINITE,
                "there is no row to take a mean of",
                where=self.where,
                expected="at least one row",
                hint="choose another initializer",
            )
        moments = RowMoments(len(rows_N), self.rows.dim, covariance=covariance)
        at_a_time = _BLOCKS_AT_A_TIME * self.peers.size
        for first in range(0, moments.num_blocks, at_a_time):
            blocks = range(first, min(first + at_a_time, moments.num_blocks))
            for sums in self.peers.agree(
                partial(self._sums, moments, rows_N, blocks[self.peers.rank :: self.peers.size])
            ):
                for block, of_block in sums.items():
                    moments.take(block, of_block)
        return moments.result()

    def _sums(self, moments: RowMoments, rows_N: NDArray[np.int64], blocks: Sequence[int]) -> dict[int, Moments]:
        sums = {}
        for block in blocks:
            asked_N = rows_N[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS]
            rows_ND = np.empty((len(asked_N), self.rows.dim), self.rows.dtype)
            self.rows.gather(asked_N, rows_ND)
            self._check_finite(rows_ND, asked_N)
            sums[block] = moments.of_block(block, rows_ND)
        return sums

    def donor(self) -> NDArray[np.float64]:
        """`[D]`: the donor's row.

        Raises:
            IncompatibleError: `not-finite`.
        """
        assert self.donor_row is not None
        row_1D = np.empty((1, self.rows.dim), self.rows.dtype)
        together(self.peers, partial(self.rows.read, self.donor_row, self.donor_row + 1, row_1D))
        self._check_finite(row_1D, np.array([self.donor_row]))
        donor_D: NDArray[np.float64] = row_1D[0].astype(np.float64)
        return donor_D

    def _check_finite(self, rows_ND: NDArray[Any], rows_N: NDArray[np.int64]) -> None:
        is_finite_N = np.isfinite(rows_ND).all(axis=1)
        if not is_finite_N.all():
            bad = int(rows_N[np.argmin(is_finite_N)])
            raise IncompatibleError(
                ErrorKind.NOT_FINITE,
                "new rows cannot be drawn from old ones that hold NaN or infinity",
                where=f"{self.where}, row {bad}",
                expected="finite values",
                found=f"{np.count_nonzero(~is_finite_N)} such rows among {len(rows_N)}",
                hint="choose another initializer, or mend the snapshot first: `embsnap migrate` with a repair step",
            )


def resolve_initializer(table: EmbeddingBagConfig, old: OldRows | None) -> InitialRows:
    """Turn a table's configuration into numbers; without one it is torchrec's own, uniform(±1/√num_embeddings).

    Args:
        table: The new table.
        old: What new rows may be drawn from; None where none is drawn, or none from old rows.

    Raises:
        IncompatibleError: `not-finite`: the old rows that it draws from are not all finite.
        StorageError, SnapshotError: Reading the old table for its moments failed.
    """
    config = table.initializer_or_default
    spec, arguments = _spec(table, old)
    described = [*arguments, f"seed={config.seed}"]
    if config.max_norm is not None:
        described.append(f"max_norm={config.max_norm:.6g}")
    description = f"{config.kind}({', '.join(described)})"
    return InitialRows(spec, table.name, config.seed, config.max_norm, description)


def _spec(table: EmbeddingBagConfig, old: OldRows | None) -> tuple[Distribution, list[str]]:
    """The kernel's parameters, and how the report names them."""
    match table.initializer_or_default.init:
        case ZerosInit():
            return Constant(0.0), []
        case ConstantInit(value=value):
            return Constant(value), [f"{value:.6g}"]
        case UniformInit(bound=bound):
            bound = 1 / sqrt(table.num_embeddings) if bound is None else bound
            return Uniform(-bound, bound), [f"±{bound:.6g}"]
        case NormalInit(mean=mean, std=std):
            return Normal(mean, std), [f"mean={mean:.6g}", f"std={std:.6g}"]
        case TruncatedNormalInit(mean=mean, std=scale):
            scale = 1 / sqrt(table.embedding_dim) if scale is None else scale
            return TruncatedNormal(mean, scale), [f"mean={mean:.6g}", f"std={scale:.6g}"]
        case _ if old is None:
            return Constant(0.0), []
        case from_old:
            return _spec_from_old(from_old, old, table)


def _spec_from_old(
    init: MeanInit | MeanCovarianceInit | DonorInit, old: OldRows, table: EmbeddingBagConfig
) -> tuple[Distribution, list[str]]:
    match init:
        case MeanInit():
            return Constant(old.moments(covariance=False).mean_D), []
        case MeanCovarianceInit():
            moments = old.moments(covariance=True)
            return MultivariateNormal(moments.mean_D, _factor(moments.covariance_DD)), []
        case DonorInit(id=entity_id) if entity_id is not None:
            return Constant(old.donor()), [f"id={entity_id}"]
        case DonorInit(column=column):
            bound = 1 / sqrt(table.num_embeddings)
            return Uniform(-bound, bound), [f"column={column}", f"uniform(±{bound:.6g}) where it names no old entity"]


def _factor(covariance_DD: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower-triangular L with L @ L.T = covariance, also where the covariance is singular (a constant column)."""
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    root_DD = vectors_DD * np.sqrt(np.clip(values_D, 0, None))
    return np.ascontiguousarray(np.transpose(np.linalg.qr(root_DD.T, mode="r")))

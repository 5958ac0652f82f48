"""First values of rows: a function of seed, table, key and column, and of nothing else.

So a row is the same whatever the order in which rows are filled, however they are cut into blocks and whoever fills
them.

Shape suffixes: N rows in hand, D embedding_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel
from embsnap.kernels.distributions import NORMAL_CDF_2, normal_quantile, unit
from embsnap.kernels.mixing import mix64, mix64_int

__all__ = [
    "Constant",
    "Distribution",
    "MultivariateNormal",
    "Normal",
    "TruncatedNormal",
    "Uniform",
    "clip_norms",
    "fill",
    "largest_magnitude",
    "table_key",
]


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """Every row the same."""

    value: float | NDArray[np.float64]
    """One number, or `float64[D]`: one for each column."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform between `low` and `high`; neither is reached but by rounding to the element type."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal, by the inverse of its distribution function."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class TruncatedNormal:
    """Normal, conditioned on being at most 2 `std` away from `mean`."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True, eq=False)
class MultivariateNormal:
    """`mean_D + factor_DD @ z_D` with D independent standard normal values z."""

    mean_D: NDArray[np.float64]
    factor_DD: NDArray[np.float64]
    """Lower triangular: the Cholesky factor of the covariance. What stands above the diagonal is not read."""


Distribution = Constant | Uniform | Normal | TruncatedNormal | MultivariateNormal
"""How new rows are filled."""

_MAX_WORD = (1 << 64) - 1
_LOWEST = 1.0 - NORMAL_CDF_2
_LARGEST_NORMAL = 8.3
"""Above the quantile of the largest `unit`."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def table_key(name: str) -> int:
    """A 64-bit number for a table's name: the first 8 bytes of its BLAKE2b digest of that length, little-endian."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def fill(out_ND: NDArray[Any], keys_N: NDArray[np.uint64], *, table_key: int, seed: int, spec: Distribution) -> None:
    """Fill each row of `out_ND` by its key.

    Element (i, j) is made of output j of a SplitMix64 whose state begins as
    `mix64(keys_N[i] ^ mix64(table_key ^ mix64(seed)))`. It is computed in float64 and rounded once. The GIL is
    released, except by `Constant`.

    Args:
        out_ND: `float32[N, D]` or `float64[N, D]`, C-contiguous.
        keys_N: `uint64[N]`: `id_keys` of the rows' entities, `row_keys` of rows without one.
        table_key: `table_key` of the table's name.
        seed: Any integer, taken modulo 2**64.
        spec: The distribution.

    Raises:
        ValueError: Shapes or types do not fit.
    """
    num_rows, dim = out_ND.shape
    if out_ND.dtype not in (np.float32, np.float64) or not out_ND.flags.c_contiguous:
        raise ValueError(f"rows must be C-contiguous float32 or float64, found {out_ND.dtype} {out_ND.strides}")
    if len(keys_N) != num_rows:
        raise ValueError(f"{len(keys_N)} keys for {num_rows} rows")
    keys_N = frozen(keys_N, np.uint64)
    stream = np.uint64(mix64_int(table_key ^ mix64_int(seed)))
    match spec:
        case Constant(value):
            out_ND[:] = value
        case Uniform(low, high):
            _fill_uniform(out_ND, keys_N, stream, float(low), float(high))
        case Normal(mean, std):
            _fill_normal(out_ND, keys_N, stream, float(mean), float(std), 0.0)
        case TruncatedNormal(mean, std):
            _fill_normal(out_ND, keys_N, stream, float(mean), float(std), _LOWEST)
        case MultivariateNormal(mean_D, factor_DD):
            if mean_D.shape != (dim,) or factor_DD.shape != (dim, dim):
                raise ValueError(f"mean {mean_D.shape} and factor {factor_DD.shape} do not fit rows of {dim}")
            _fill_correlated(out_ND, keys_N, stream, frozen(mean_D, np.float64), frozen(factor_DD.T, np.float64))


def largest_magnitude(spec: Distribution) -> float:
    """What no drawn value exceeds, of either sign; NaN where a parameter is."""
    match spec:
        case Constant(value):
            return float(np.max(np.abs(value)))
        case Uniform(low, high):
            return max(abs(low), abs(high))
        case Normal(mean, std) | TruncatedNormal(mean, std):
            return abs(mean) + _LARGEST_NORMAL * std
        case MultivariateNormal(mean_D, factor_DD):
            return float(np.max(np.abs(mean_D) + _LARGEST_NORMAL * np.abs(factor_DD).sum(axis=1)))


def clip_norms(rows_ND: NDArray[Any], max_norm: float) -> None:
    """Scale each row whose Euclidean norm is above `max_norm` down to it, in place; other rows are left as they are.

    Args:
        rows_ND: `float32[N, D]` or `float64[N, D]`, C-contiguous.
        max_norm: Not negative.

    Raises:
        ValueError: `max_norm` is negative or not a number, or the rows are of another kind.
    """
    if not max_norm >= 0:
        raise ValueError(f"a largest norm must not be negative, found {max_norm}")
    if rows_ND.dtype not in (np.float32, np.float64) or not rows_ND.flags.c_contiguous:
        raise ValueError(f"rows must be C-contiguous float32 or float64, found {rows_ND.dtype} {rows_ND.strides}")
    _clip(rows_ND, float(max_norm))


@kernel
def _fill_uniform(out_ND: Any, keys_N: Any, stream: Any, low: float, high: float) -> None:
    scale = high - low
    for i in range(out_ND.shape[0]):
        state = mix64(keys_N[i] ^ stream)
        for j in range(out_ND.shape[1]):
            out_ND[i, j] = low + scale * unit(mix64(state + np.uint64(j) * _GOLDEN))


@kernel
def _fill_normal(out_ND: Any, keys_N: Any, stream: Any, mean: float, std: float, lowest: float) -> None:
    scale = 1.0 - 2.0 * lowest
    for i in range(out_ND.shape[0]):
        state = mix64(keys_N[i] ^ stream)
        for j in range(out_ND.shape[1]):
            word = mix64(state + np.uint64(j) * _GOLDEN)
            out_ND[i, j] = mean + std * normal_quantile(lowest + scale * unit(word))


@kernel
def _fill_correlated(out_ND: Any, keys_N: Any, stream: Any, mean_D: Any, factor_columns_DD: Any) -> None:
    dim = out_ND.shape[1]
    row_D = np.empty(dim, np.float64)
    for i in range(out_ND.shape[0]):
        state = mix64(keys_N[i] ^ stream)
        row_D[:] = mean_D
        for k in range(dim):
            z = normal_quantile(unit(mix64(state + np.uint64(k) * _GOLDEN)))
            for j in range(k, dim):
                row_D[j] += factor_columns_DD[k, j] * z
        for j in range(dim):
            out_ND[i, j] = row_D[j]


@kernel
def _clip(rows_ND: Any, max_norm: float) -> None:
    for i in range(rows_ND.shape[0]):
        square = 0.0
        for j in range(rows_ND.shape[1]):
            square += np.float64(rows_ND[i, j]) ** 2
        if square > max_norm * max_norm:
            factor = max_norm / np.sqrt(square)
            for j in range(rows_ND.shape[1]):
                rows_ND[i, j] = rows_ND[i, j] * factor

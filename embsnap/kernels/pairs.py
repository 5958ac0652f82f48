"""Rows compared pair by pair: norms, distance and cosine.

Shape suffixes: N pairs in hand, D embedding_dim, P bands of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.bands import RowBands, band_of, bands_per_row
from embsnap.kernels.compiler import frozen, kernel, primitive, summing_kernel
from embsnap.kernels.memory import moved, prefetch

__all__ = [
    "IDENTICAL",
    "NON_FINITE",
    "ZERO",
    "Comparison",
    "compare_bands",
    "compare_rows",
    "floats_of",
]

IDENTICAL = np.uint8(1)
"""The two rows have the same values; NaN is the same as NaN."""
NON_FINITE = np.uint8(2)
"""An element of either row is NaN or infinite, or their distance is beyond float64."""
ZERO = np.uint8(4)
"""Finite, and one of the rows is all zero, or both."""

_UNDERFLOWS = 1e-280
"""A sum of float64 squares below this may have lost digits, or all of them."""

_AHEAD = 16
_LINE_BYTES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Of N pairs of rows a and b. Figures of pairs that are left out or not finite are NaN."""

    norm_a_N: NDArray[np.float64]
    norm_b_N: NDArray[np.float64]
    distance_N: NDArray[np.float64]
    """‖b − a‖."""
    cosine_N: NDArray[np.float64]
    """In [−1, 1], exactly 1 for equal rows; NaN where either is zero."""
    relative_N: NDArray[np.float64]
    """‖b − a‖ / ‖a‖; 0 where both are zero, NaN where only a is, or where it is beyond float64."""
    flags_N: NDArray[np.uint8]
    """Sum of `IDENTICAL`, `NON_FINITE` and `ZERO`; 0 for pairs that are left out."""

    @classmethod
    def empty(cls, num_pairs: int, *, norms: bool) -> Comparison:
        """Room for N pairs; without `norms` those two arrays have no elements, and are not filled."""
        norm_a_N, norm_b_N = np.empty((2, num_pairs if norms else 0))
        distance_N, cosine_N, relative_N = (np.empty(num_pairs) for _ in range(3))
        return cls(norm_a_N, norm_b_N, distance_N, cosine_N, relative_N, np.empty(num_pairs, np.uint8))

    def part(self, start: int, end: int) -> Comparison:
        """The pairs `[start, end)`, in the same memory."""
        here = slice(start, end)
        return Comparison(
            norm_a_N=self.norm_a_N[here],
            norm_b_N=self.norm_b_N[here],
            distance_N=self.distance_N[here],
            cosine_N=self.cosine_N[here],
            relative_N=self.relative_N[here],
            flags_N=self.flags_N[here],
        )


def floats_of(rows_ND: NDArray[Any]) -> NDArray[Any]:
    """Rows as numbers to reckon with: float32 and float64 as they are, smaller floats as float32, others as float64.

    Raises:
        TypeError: They are complex.
    """
    if rows_ND.dtype in (np.float32, np.float64):
        return rows_ND
    if rows_ND.dtype.kind == "c":
        raise TypeError(f"rows of {rows_ND.dtype} have no cosine")
    small = rows_ND.dtype == np.float16 or rows_ND.dtype.name == "bfloat16"
    return rows_ND.astype(np.float32 if small else np.float64)


def compare_rows(
    a_ND: NDArray[Any], b_ND: NDArray[Any], counts_N: NDArray[np.bool_], out: Comparison | None = None
) -> Comparison:
    """Compare row i of `a_ND` with row i of `b_ND`, as `compare_bands` does.

    Args:
        a_ND: `[N, D]` of float32 or float64.
        b_ND: The same shape; float32 or float64.
        counts_N: `bool[N]`: which pairs count.
        out: Gets the figures, and is what is returned; without it room is made.

    Raises:
        ValueError: The shapes differ.
    """
    if a_ND.shape != b_ND.shape or len(counts_N) != len(a_ND):
        raise ValueError(f"rows {a_ND.shape} and {b_ND.shape}, {len(counts_N)} flags")
    found = Comparison.empty(len(a_ND), norms=True) if out is None else out
    rows_N = np.where(counts_N, np.arange(len(a_ND)), -1)
    compare_bands(RowBands.of([a_ND]), rows_N, RowBands.of([b_ND]), 0, found)
    return found


def compare_bands(
    a: RowBands, rows_a_N: NDArray[np.int64], b: RowBands, first_b: int, out: Comparison
) -> NDArray[np.int64]:
    """Compare row `rows_a_N[i]` of A with row `first_b + i` of B, in float64, where they lie.

    A pair's figures depend on that pair alone. Squares that float64 does not hold are summed again, scaled.

    Args:
        a: Rows of float32 or float64.
        rows_a_N: `int64[N]`, in any order; pairs with a negative one are left out.
        b: Rows of the same width.
        first_b: The first of N rows.
        out: Gets the figures of the N pairs.

    Returns:
        `int64[P]`: how many rows of each of A's bands were looked at.

    Raises:
        ValueError: The widths differ, or `out` is for another number of pairs.
        IndexError: A row is beyond its bands.
    """
    if a.dim != b.dim:
        raise ValueError(f"rows of {a.dim} and of {b.dim} elements")
    if first_b < 0 or first_b + len(rows_a_N) > b.num_rows or int(rows_a_N.max(initial=-1)) >= a.num_rows:
        raise IndexError(f"rows beyond the {a.num_rows} of A or the {b.num_rows} of B")
    if len(out.flags_N) != len(rows_a_N):
        raise ValueError(f"room for {len(out.flags_N)} pairs of {len(rows_a_N)}")
    is_wide = np.float64 in (a.dtype, b.dtype)
    norms_2N = (out.norm_a_N, out.norm_b_N)
    figures = (out.distance_N, out.cosine_N, out.relative_N, out.flags_N)
    counts_P = np.zeros(len(a.starts_P), np.int64)
    _compare(*a.parts, frozen(rows_a_N, np.int64), *b.parts, first_b, is_wide, *norms_2N, *figures, counts_P)
    return counts_P


@summing_kernel
def _compare(
    a_D: Any,
    starts_a_P: Any,
    bases_a_P: Any,
    rows_a_N: Any,
    b_D: Any,
    starts_b_P: Any,
    bases_b_P: Any,
    first_b: int,
    is_wide: bool,
    norm_a_N: Any,
    norm_b_N: Any,
    distance_N: Any,
    cosine_N: Any,
    relative_N: Any,
    flags_N: Any,
    counts_P: Any,
) -> None:
    """Σa², Σb², Σ(b−a)² and Σab of each pair, and the figures that follow."""
    dim, num_pairs, keeps_norms = len(a_D), len(rows_a_N), len(norm_a_N) > 0
    row_bytes_a, row_bytes_b = dim * a_D.itemsize, dim * b_D.itemsize
    per_row_a, per_row_b = bands_per_row(starts_a_P), bands_per_row(starts_b_P)
    for i in range(num_pairs):
        if i + _AHEAD < num_pairs and rows_a_N[i + _AHEAD] >= 0:
            ahead = rows_a_N[i + _AHEAD]
            start = bases_a_P[band_of(ahead, starts_a_P, per_row_a)] + ahead * row_bytes_a
            for line in range(0, min(row_bytes_a, 512), _LINE_BYTES):
                prefetch(a_D, start + line)
        row_a, row_b = rows_a_N[i], first_b + i
        norm_a = norm_b = distance = cosine = relative = np.nan
        flag = 0
        if row_a >= 0:
            band_a, band_b = band_of(row_a, starts_a_P, per_row_a), band_of(row_b, starts_b_P, per_row_b)
            counts_P[band_a] += 1
            left_D = moved(a_D, bases_a_P[band_a] + row_a * row_bytes_a)
            right_D = moved(b_D, bases_b_P[band_b] + row_b * row_bytes_b)
            aa = bb = dd = ab = 0.0
            for j in range(dim):
                a, b = np.float64(left_D[j]), np.float64(right_D[j])
                aa += a * a
                bb += b * b
                dd += (b - a) * (b - a)
                ab += a * b
            if not np.isfinite(aa + bb + dd) or (is_wide and min(aa, bb, dd) < _UNDERFLOWS):
                norm_a, norm_b, distance, cosine, flag = _compared_scaled(left_D, right_D)
            else:
                norm_a, norm_b, distance, cosine, flag = _compared(aa, bb, dd, ab)
            norm_a, norm_b, distance, cosine, relative, flag = _judged(norm_a, norm_b, distance, cosine, flag)
        if keeps_norms:
            norm_a_N[i], norm_b_N[i] = norm_a, norm_b
        distance_N[i], cosine_N[i], relative_N[i], flags_N[i] = distance, cosine, relative, flag


@primitive
def _compared(aa: Any, bb: Any, dd: Any, ab: Any) -> Any:
    """Both norms, the distance, the cosine and the flag of one pair, from its sums."""
    norm_a, norm_b = np.sqrt(aa), np.sqrt(bb)
    cosine = ab / (norm_a * norm_b) if norm_a > 0 and norm_b > 0 else np.nan
    return norm_a, norm_b, np.sqrt(dd), cosine, 1 if dd == 0 else 0


@primitive
def _judged(norm_a: Any, norm_b: Any, distance: Any, cosine: Any, flag: Any) -> Any:
    """The same with the relative distance, within their ranges, and with all flags."""
    if flag & 2:
        return np.nan, np.nan, np.nan, np.nan, np.nan, flag
    flag |= 0 if norm_a > 0 and norm_b > 0 else 4
    cosine = 1.0 if flag == 1 else min(1.0, max(-1.0, cosine)) if flag & 4 == 0 else np.nan
    relative = distance / norm_a if norm_a > 0 else (0.0 if norm_b == 0 else np.nan)
    return norm_a, norm_b, distance, cosine, relative if np.isfinite(relative) else np.nan, flag


@kernel
def _compared_scaled(a_D: Any, b_D: Any) -> tuple[float, float, float, float, int]:
    """Both norms, the distance, the cosine and the flag of one pair whose squares float64 may not hold."""
    identical, largest_a, largest_b, finite = 1, 0.0, 0.0, True
    for j in range(len(a_D)):
        a, b = np.float64(a_D[j]), np.float64(b_D[j])
        if a != b and not (np.isnan(a) and np.isnan(b)):
            identical = 0
        finite = finite and np.isfinite(a) and np.isfinite(b)
        largest_a, largest_b = max(largest_a, abs(a)), max(largest_b, abs(b))
    if not finite:
        return np.nan, np.nan, np.nan, np.nan, identical | 2
    scale_a, scale_b = largest_a if largest_a > 0 else 1.0, largest_b if largest_b > 0 else 1.0
    scale = max(largest_a, largest_b) if max(largest_a, largest_b) > 0 else 1.0
    aa = bb = dd = ab = 0.0
    for j in range(len(a_D)):
        a, b = np.float64(a_D[j]), np.float64(b_D[j])
        step = b / scale - a / scale
        aa += (a / scale_a) ** 2
        bb += (b / scale_b) ** 2
        dd += step * step
        ab += (a / scale_a) * (b / scale_b)
    norm_a, norm_b, distance = scale_a * np.sqrt(aa), scale_b * np.sqrt(bb), scale * np.sqrt(dd)
    cosine = ab / (np.sqrt(aa) * np.sqrt(bb)) if aa > 0 and bb > 0 else np.nan
    return norm_a, norm_b, distance, cosine, identical if np.isfinite(norm_a + norm_b + distance) else identical | 2

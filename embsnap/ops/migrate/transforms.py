"""What is done to the values of rows, block by block.

Shape suffixes: D columns before, E columns after, N rows in hand.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.narrowing import narrow
from embsnap.kernels.reduce import row_norms
from embsnap.ops.migrate.nodes import Transform

__all__ = ["Cast", "CastErrors", "Columns", "Dequantize", "Limit", "Project", "Quantize", "quantized_dim"]

_INT8 = "int8"
"""What people call rows of bytes with a scale and an offset."""
_Rows = NDArray[Any]
_Index = NDArray[np.int64]
_SCALE_BYTES = 8
"""Scale and bias of a fused 8-bit row, two little-endian float32."""


@dataclass(slots=True)
class CastErrors:
    """What a cast did to the values so far; kept by all threads together."""

    num_values: int = 0
    num_overflows: int = 0
    """Finite values that were not finite afterwards, or were cut to the largest."""
    largest_error: float = 0.0
    """Largest absolute difference of finite values."""
    squares: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, num_values: int, num_overflows: int, largest: float, squares: float) -> None:
        """Take in a block."""
        with self.lock:
            self.num_values += num_values
            self.num_overflows += num_overflows
            self.largest_error = max(self.largest_error, largest)
            self.squares += squares

    def reset(self) -> None:
        """Forget what was measured."""
        with self.lock:
            self.num_values = self.num_overflows = 0
            self.largest_error = self.squares = 0.0

    @property
    def rms_error(self) -> float:
        """Root of the mean square of the differences."""
        return float(np.sqrt(self.squares / self.num_values)) if self.num_values else 0.0


def _work(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What a type is computed in."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _store(table: str, rows_N: _Index, rows_ND: _Rows, wide_ND: _Rows, out_ND: _Rows) -> None:
    """Round what was computed from `rows_ND`; refuse where finite rows became what is not."""
    with np.errstate(over="ignore"):
        out_ND[...] = wide_ND
    if np.isfinite(out_ND).all():
        return
    lost_ND = ~np.isfinite(out_ND) & np.isfinite(rows_ND).all(axis=1, keepdims=True)
    if lost_ND.any():
        i, j = (int(index) for index in np.argwhere(lost_ND)[0])
        raise IncompatibleError(
            ErrorKind.CAST_OVERFLOW,
            f"{int(lost_ND.sum())} values computed for one block do not fit {out_ND.dtype.name}",
            where=f"table {table}, row {rows_N[i]}, column {j}",
            expected=f"values that {out_ND.dtype.name} can hold",
            found=f"{float(wide_ND[i, j]):.6g}",
            hint="cast to a wider type in a step before, or choose smaller numbers",
        )


@dataclass(slots=True)
class _Measured(Transform):
    """A conversion whose errors are measured and bounded."""

    table: str
    dim: int
    dtype: np.dtype[Any]
    max_error: float | None
    saturate: bool
    errors: CastErrors = field(default_factory=CastErrors)

    def _measure(self, rows_N: _Index, before_ND: _Rows, after_ND: _Rows, num_cut: int) -> None:
        """Compare float blocks of one type; `after_ND` is spoilt."""
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(after_ND, before_ND, out=after_ND)
            np.abs(after_ND, out=after_ND)
            largest = float(after_ND.max(initial=0.0))
            overflows = 0
            if not np.isfinite(largest):
                lost_ND = np.isposinf(after_ND) & np.isfinite(before_ND)
                overflows = int(lost_ND.sum())
                if overflows:
                    self._refuse_overflow(rows_N, before_ND, lost_ND)
                after_ND[~np.isfinite(after_ND)] = 0
                largest = float(after_ND.max(initial=0.0))
            flat = after_ND.reshape(-1)
            squares = float(np.dot(flat, flat))
        self.errors.add(before_ND.size, num_cut, largest, squares)
        if self.max_error is not None and largest > self.max_error:
            self._refuse_error(rows_N, before_ND, after_ND, largest)

    def _refuse_overflow(self, rows_N: _Index, before_ND: _Rows, lost_ND: _Rows) -> None:
        i, j = (int(index) for index in np.argwhere(lost_ND)[0])
        raise IncompatibleError(
            ErrorKind.CAST_OVERFLOW,
            f"{int(lost_ND.sum())} finite values of one block do not fit {self.dtype.name}",
            where=f"table {self.table}, row {rows_N[i]}, column {j}",
            expected=f"values that {self.dtype.name} can hold",
            found=f"{float(before_ND[i, j]):.6g}",
            hint="cast to bf16, or set saturate: true",
        )

    def _refuse_error(self, rows_N: _Index, before_ND: _Rows, error_ND: _Rows, largest: float) -> None:
        i, j = (int(index) for index in np.unravel_index(int(error_ND.argmax()), error_ND.shape))
        name = _INT8 if self.dtype == np.uint8 else self.dtype.name
        raise IncompatibleError(
            ErrorKind.CAST_ERROR,
            f"casting to {name} changes a value by more than is allowed",
            where=f"table {self.table}, row {rows_N[i]}, column {j}",
            expected=f"a difference of at most {self.max_error:.6g}",
            found=f"{largest:.6g} of {float(before_ND[i, j]):.6g}",
            hint="raise max_error, or choose a wider type",
        )


@dataclass(slots=True)
class Cast(_Measured):
    """To another floating-point type, rounded to nearest, ties to even."""

    def apply(self, rows_N: _Index, rows_ND: _Rows, out_ND: _Rows) -> None:
        """Cast, and measure."""
        if not self.saturate and rows_ND.dtype == np.float32 and self.dtype.itemsize == 2:
            found = narrow(rows_ND, out_ND) if out_ND.flags.c_contiguous else None
            if found is not None and (self.max_error is None or found[0] <= self.max_error):
                self.errors.add(rows_ND.size, 0, *found)
                return
        wide = _work(np.promote_types(_work(rows_ND.dtype), _work(self.dtype)))
        before_ND = rows_ND.astype(wide, copy=False)
        num_cut = 0
        if self.saturate:
            before_ND, num_cut = self._saturated(before_ND)
        with np.errstate(over="ignore"):
            out_ND[...] = before_ND
        self._measure(rows_N, before_ND, out_ND.astype(wide), num_cut)

    def _saturated(self, rows_ND: _Rows) -> tuple[_Rows, int]:
        most = rows_ND.dtype.type(_largest(self.dtype))
        num_cut = int(((np.abs(rows_ND) > most) & np.isfinite(rows_ND)).sum())
        if not num_cut:
            return rows_ND, 0
        cut_ND = np.where(np.isfinite(rows_ND), np.clip(rows_ND, -most, most), rows_ND)
        return cut_ND, num_cut


def _largest(dtype: np.dtype[Any]) -> float:
    if dtype.name == "bfloat16":
        return float(np.uint32(0x7F7F0000).view(np.float32))
    return float(np.finfo(dtype).max)


def quantized_dim(dim: int) -> int:
    """Bytes of a fused 8-bit row of `dim` values."""
    return dim + _SCALE_BYTES


@dataclass(slots=True)
class Quantize(_Measured):
    """To fused 8-bit rows: `q = round((x - min) * 255 / (max - min))`, then `scale = (max - min) / 255`, `bias = min`.

    As FBGEMM's `FloatToFused8BitRowwiseQuantized` and `torch.ops.quantized.embedding_bag_byte_prepack`.
    """

    def apply(self, rows_N: _Index, rows_ND: _Rows, out_ND: _Rows) -> None:
        """Quantise, and measure."""
        with np.errstate(over="ignore", invalid="ignore"):
            before_ND = rows_ND.astype(np.float32, copy=False)
            low_N, high_N = before_ND.min(axis=1, initial=np.inf), before_ND.max(axis=1, initial=-np.inf)
            range_N = high_N - low_N
        if not np.isfinite(range_N).all():
            self._refuse_rows(rows_N, rows_ND, ~np.isfinite(range_N))
        scale_N = range_N / np.float32(255)
        inverse_N = np.float32(255) / (range_N + np.float32(1e-8))
        out_ND[:, : before_ND.shape[1]] = np.rint((before_ND - low_N[:, None]) * inverse_N[:, None])
        ends = np.stack([scale_N, low_N], axis=1).astype("<f4")
        out_ND[:, before_ND.shape[1] :] = ends.view(np.uint8).reshape(len(out_ND), _SCALE_BYTES)
        after_ND = np.empty(before_ND.shape, np.float32)
        _dequantize(out_ND, after_ND)
        self._measure(rows_N, before_ND, after_ND, 0)

    def _refuse_rows(self, rows_N: _Index, rows_ND: _Rows, wrong_N: NDArray[np.bool_]) -> None:
        i = int(np.argmax(wrong_N))
        row_D = np.abs(rows_ND[i].astype(np.float64))
        j = int(np.argmax(np.where(np.isnan(row_D), np.inf, row_D)))
        raise IncompatibleError(
            ErrorKind.CAST_OVERFLOW,
            f"{int(wrong_N.sum())} rows of one block do not fit {_INT8}",
            where=f"table {self.table}, row {rows_N[i]}, column {j}",
            expected="finite values, whose range float32 can hold",
            found=f"{float(rows_ND[i, j]):.6g}",
            hint="repair or clip them in a step before, or cast to bf16",
        )


@dataclass(slots=True)
class Dequantize(Transform):
    """From fused 8-bit rows to values: `q * scale + bias` in float32."""

    dim: int
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))

    def apply(self, rows_N: _Index, rows_ND: _Rows, out_ND: _Rows) -> None:
        """Dequantise."""
        _dequantize(rows_ND, out_ND)


def _dequantize(rows_ND: _Rows, out_ND: _Rows) -> None:
    dim = rows_ND.shape[1] - _SCALE_BYTES
    ends_N2 = np.ascontiguousarray(rows_ND[:, dim:]).view("<f4")
    np.multiply(rows_ND[:, :dim], ends_N2[:, :1], out=out_ND)
    out_ND += ends_N2[:, 1:]


@dataclass(slots=True)
class Project(Transform):
    """`(x - mean_D) @ matrix_DE`, in float64, rounded once."""

    table: str
    matrix_DE: NDArray[np.float64]
    mean_D: NDArray[np.float64] | None
    dtype: np.dtype[Any]

    @property
    def dim(self) -> int:  # type: ignore[override]
        """E."""
        return int(self.matrix_DE.shape[1])

    def apply(self, rows_N: _Index, rows_ND: _Rows, out_ND: _Rows) -> None:
        """Project. Row by row, so that a row's value depends on it alone, not on the block that it comes in."""
        wide_ND = rows_ND.astype(np.float64)
        if self.mean_D is not None:
            wide_ND -= self.mean_D
        with np.errstate(over="ignore", invalid="ignore"):
            projected_NE = np.einsum("nd,de->ne", wide_ND, self.matrix_DE)
        _store(self.table, rows_N, rows_ND, projected_NE, out_ND)


@dataclass(slots=True)
class Columns(Transform):
    """The first columns, or all of them and more after them."""

    dim: int
    dtype: np.dtype[Any]
    added: Any = None
    """Node of `[V, added columns]`; None for zeros."""

    def apply(self, rows_N: _Index, rows_ND: _Rows, out_ND: _Rows) -> None:
        """Cut or pad."""
        kept = min(self.dim, rows_ND.shape[1])
        out_ND[:, :kept] = rows_ND[:, :kept]
        if kept == self.dim:
            return
        added_ND = np.zeros((len(rows_N), self.dim - kept), self.dtype)
        if self.added is not None:
            self.added.gather(rows_N, added_ND)
        out_ND[:, kept:] = added_ND


@dataclass(slots=True)
class Limit(Transform):
    """Norms scaled, values clipped, in float32 (or float64), in this order."""

    table: str
    dim: int
    dtype: np.dtype[Any]
    norm: float | None = None
    max_norm: float | None = None
    low: float | None = None
    high: float | None = None

    def apply(self, rows_N: _Index, rows_ND: _Rows, out_ND: _Rows) -> None:
        """Scale, then clip."""
        wide_ND = rows_ND.astype(_work(self.dtype))
        if self.norm is not None or self.max_norm is not None:
            self._scale(wide_ND)
        if self.low is not None or self.high is not None:
            with np.errstate(over="ignore"):
                np.clip(wide_ND, self.low, self.high, out=wide_ND)
        _store(self.table, rows_N, rows_ND, wide_ND, out_ND)

    def _scale(self, wide_ND: _Rows) -> None:
        norms_N = row_norms(wide_ND)
        bound = self.norm if self.norm is not None else self.max_norm
        assert bound is not None
        scaled_N = (norms_N > 0 if self.norm is not None else norms_N > bound) & np.isfinite(norms_N)
        factors_N = np.ones(len(norms_N))
        factors_N[scaled_N] = bound / norms_N[scaled_N]
        with np.errstate(over="ignore"):
            wide_ND[scaled_N] = wide_ND[scaled_N] * factors_N[scaled_N, None]

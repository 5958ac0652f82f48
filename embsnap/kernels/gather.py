"""Copying rows by index, as bytes, whatever their element type.

Shape suffixes: R source rows, N rows in hand, B bands; `_bytes` are lengths in bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from embsnap.kernels.bands import band_of, bands_per_row
from embsnap.kernels.compiler import frozen, kernel
from embsnap.kernels.memory import copy_bytes, copy_from, prefetch, prefetch_at

__all__ = ["NO_ROWS", "UNKNOWN", "gather_bands", "gather_rows", "split_by_band"]

_AHEAD = 16
_LINE_BYTES = 64
NO_ROWS = -1
"""Instead of the address of a band that has no rows to copy."""
UNKNOWN = 0
"""Instead of the address of a band that is not known yet."""


def gather_rows(
    src_RB: NDArray[np.uint8],
    source_rows_N: NDArray[np.int64],
    positions_N: NDArray[np.int64],
    dst: NDArray[np.uint8],
    dst_offset: int = 0,
) -> None:
    """Copy row `source_rows_N[i]` of `src_RB` into row `positions_N[i]` of `dst`, for each i in order.

    The GIL is released: several threads may fill one `dst`, each at positions of its own.

    Args:
        src_RB: `uint8[R, row_bytes]`; rows may lie any distance apart and at any address (a column shard, a map).
        source_rows_N: `int64[N]` in `[0, R)`, in any order, with repeats.
        positions_N: `int64[N]` in `[0, len(dst))`.
        dst: `uint8[N', dst_row_bytes]`, writable, the bytes of one row side by side. It shares no memory with `src_RB`.
        dst_offset: First byte within each row of `dst` that is written; `row_bytes` of them are.

    Raises:
        IndexError: A source row or a position is out of range; rows before it are copied already.
        ValueError: The arrays do not fit each other.
    """
    num_rows, row_bytes = src_RB.shape
    if len(source_rows_N) != len(positions_N):
        raise ValueError(f"{len(source_rows_N)} source rows for {len(positions_N)} positions")
    if not 0 <= dst_offset <= dst.shape[1] - row_bytes:
        raise ValueError(f"{row_bytes} bytes at offset {dst_offset} do not fit into rows of {dst.shape[1]} bytes")
    if not dst.flags.writeable:
        raise ValueError("the destination is read-only")
    if len(source_rows_N) == 0:
        return
    src_B, dst_B = frozen(_flat(src_RB), np.uint8), _flat(dst)
    sizes = (num_rows, src_RB.strides[0], row_bytes, len(dst), dst.strides[0], dst_offset)
    bad = _gather(src_B, frozen(source_rows_N, np.int64), frozen(positions_N, np.int64), dst_B, *sizes)
    if bad >= 0:
        place = f"source row {source_rows_N[bad]} of {num_rows}, position {positions_N[bad]} of {len(dst)}"
        raise IndexError(f"index {bad} is out of range: {place}")


def _flat(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All bytes from the first row's first to the last row's last, as one run."""
    num_rows, row_bytes = rows.shape
    if rows.dtype != np.uint8 or (row_bytes > 1 and rows.strides[1] != 1) or rows.strides[0] < 0:
        raise ValueError(
            f"rows must be uint8 with the bytes of one row side by side, found {rows.dtype} {rows.strides}"
        )
    length = (num_rows - 1) * rows.strides[0] + row_bytes if rows.size else 0
    return as_strided(rows, (length,), (1,), writeable=rows.flags.writeable)


@kernel
def _gather(
    src_B: Any,
    source_rows_N: Any,
    positions_N: Any,
    dst_B: Any,
    num_rows: int,
    stride: int,
    row_bytes: int,
    num_positions: int,
    dst_stride: int,
    dst_offset: int,
) -> int:
    """Copy; the first index that is out of range, or -1."""
    total = len(source_rows_N)
    for i in range(total):
        if i + _AHEAD < total:
            ahead = source_rows_N[i + _AHEAD] * stride
            for line in range(0, min(row_bytes, 512), _LINE_BYTES):
                prefetch(src_B, ahead + line)
        row, position = source_rows_N[i], positions_N[i]
        if row < 0 or row >= num_rows or position < 0 or position >= num_positions:
            return i
        copy_bytes(dst_B, position * dst_stride + dst_offset, src_B, row * stride, row_bytes)
    return -1


def gather_bands(
    rows_N: NDArray[np.int64],
    begin: int,
    starts_B: NDArray[np.int64],
    addresses_B: NDArray[np.int64],
    row_bytes: int,
    dst: NDArray[np.uint8],
    dst_offset: int,
    counts_B: NDArray[np.int64],
) -> int:
    """Copy row `rows_N[i]` into row i of `dst`, for each i from `begin` on, out of bands that lie anywhere in memory.

    One pass over the rows, however many bands there are. The GIL is released.

    Args:
        rows_N: `int64[N]`, in any order; negative ones are passed over. The last band has all rows from its start on:
            that none is beyond it is for the caller to see to.
        begin: First of `rows_N` to copy.
        starts_B: `int64[B]`, ascending from 0, as for `split_by_band`.
        addresses_B: `int64[B]`: where the rows of each band begin in memory, `row_bytes` apart; `NO_ROWS` for a band
            whose rows are passed over, `UNKNOWN` for one at which to stop. What lies there has to stay there.
        row_bytes: Of one row of a band.
        dst: C-contiguous `uint8[N, dst_row_bytes]`.
        dst_offset: First byte within each row of `dst` that is written.
        counts_B: `int64[B]`; the number of rows copied from each band is added.

    Returns:
        N, or the place in `rows_N` of the first row whose band is `UNKNOWN`; those before it are copied.
    """
    if len(dst) != len(rows_N) or not 0 <= dst_offset <= dst.shape[1] - row_bytes:
        raise ValueError(f"{len(rows_N)} rows of {row_bytes} bytes at {dst_offset} do not fit {list(dst.shape)}")
    places = (frozen(rows_N, np.int64), begin, frozen(starts_B, np.int64), addresses_B, row_bytes)
    return int(_gather_bands(*places, dst.reshape(-1), dst.shape[1], dst_offset, counts_B))


@kernel
def _gather_bands(
    rows_N: Any,
    begin: int,
    starts_B: Any,
    addresses_B: Any,
    row_bytes: int,
    dst_B: Any,
    dst_stride: int,
    dst_offset: int,
    counts_B: Any,
) -> int:
    total, per_row = len(rows_N), bands_per_row(starts_B)
    bands = np.zeros(_AHEAD, np.int64)
    for i in range(begin - _AHEAD, total):
        ahead = i + _AHEAD
        band = bands[ahead % _AHEAD]  # of row i, noted when it was ahead
        if ahead < total and rows_N[ahead] >= 0:
            next_band = band_of(rows_N[ahead], starts_B, per_row)
            bands[ahead % _AHEAD] = next_band
            address = addresses_B[next_band] + (rows_N[ahead] - starts_B[next_band]) * row_bytes
            for line in range(0, min(row_bytes, 512), _LINE_BYTES):
                prefetch_at(address + line)
        if i < begin or rows_N[i] < 0 or addresses_B[band] == NO_ROWS:
            continue
        if addresses_B[band] == UNKNOWN:
            return i
        address = addresses_B[band] + (rows_N[i] - starts_B[band]) * row_bytes
        copy_from(dst_B, i * dst_stride + dst_offset, address, row_bytes)
        counts_B[band] += 1
    return total


def split_by_band(
    rows_N: NDArray[np.int64], starts_B: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Group requested rows by the band of rows (the shard) that holds them, keeping their order within a band.

    Args:
        rows_N: `int64[N]`; negative rows are left out.
        starts_B: `int64[B]`, ascending: band b holds rows `[starts_B[b], starts_B[b + 1])`, the last one all from its
            start on. `starts_B[0]` is 0.

    Returns:
        `positions_M int64[M]`, the places in `rows_N` of the M rows that are not negative, band after band;
        `local_rows_M int64[M]`, the same rows counted from the start of their band; and `band_bounds int64[B + 1]`:
        band b has the half-open range `[band_bounds[b], band_bounds[b + 1])` of both.

    Raises:
        ValueError: `starts_B` is empty, does not begin with 0 or is not ascending.
    """
    if len(starts_B) == 0 or starts_B[0] != 0 or bool((np.diff(starts_B) < 0).any()):
        raise ValueError(f"bands must begin at row 0 and ascend, found {starts_B[:5]}")
    rows_N, starts_B = frozen(rows_N, np.int64), frozen(starts_B, np.int64)
    bounds, bands_N = np.zeros(len(starts_B) + 1, np.int64), np.empty(len(rows_N), np.int64)
    _count_bands(rows_N, starts_B, bounds, bands_N)
    positions, local_rows = np.empty(bounds[-1], np.int64), np.empty(bounds[-1], np.int64)
    _group_by_band(rows_N, starts_B, bounds[:-1].copy(), bands_N, positions, local_rows)
    return positions, local_rows, bounds


@kernel
def _count_bands(rows_N: Any, starts_B: Any, bounds: Any, bands_N: Any) -> None:
    """Find the band of each row, and the first place of each band."""
    num_bands = len(starts_B)
    per_row = bands_per_row(starts_B)
    for i in range(len(rows_N)):
        row = rows_N[i]
        if row < 0:
            continue
        band = band_of(row, starts_B, per_row)
        bands_N[i] = band
        bounds[band + 1] += 1
    for b in range(num_bands):
        bounds[b + 1] += bounds[b]


@kernel
def _group_by_band(rows_N: Any, starts_B: Any, cursors_B: Any, bands_N: Any, positions: Any, local_rows: Any) -> None:
    for i in range(len(rows_N)):
        if rows_N[i] >= 0:
            band = bands_N[i]
            cursor = cursors_B[band]
            positions[cursor], local_rows[cursor] = i, rows_N[i] - starts_B[band]
            cursors_B[band] = cursor + 1

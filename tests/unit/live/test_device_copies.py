"""Blocks that pass through host buffers: on a GPU, and to tensors that cannot be read into directly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.live.arrays import as_array
from embsnap.live.device_copies import DeviceCopies
from embsnap.live.filling import Band, RowsPart, fill_band, putting_into
from embsnap.model.progress import SILENT
from embsnap.testing.tables import ArrayRows

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
THREADS = 3
TOLD: dict[str, Any] = {"task": "filling", "progress": SILENT, "threads": THREADS}


@dataclass(frozen=True, slots=True)
class WatchedRows(ArrayRows):
    """Rows that remember where they were asked to go."""

    addresses: set[int] = field(default_factory=set)

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        self.addresses.add(out_ND.ctypes.data)
        ArrayRows.read(self, start, end, out_ND)


def strided(num_rows: int, dim: int, device: str) -> torch.Tensor:
    """A tensor that no row can be read into directly, wherever it is."""
    return torch.zeros((num_rows, 2 * dim), device=device)[:, ::2]


@pytest.fixture
def rows() -> NDArray[np.float32]:
    return np.random.default_rng(0).random((1000, 6), np.float32)


@pytest.mark.parametrize("device", DEVICES)
def test_a_band_of_columns_goes_through_a_few_buffers(rows, device) -> None:
    parts = (RowsPart(100, 0, strided(800, 2, device)), RowsPart(100, 2, strided(800, 4, device)))
    source = WatchedRows(rows)
    fill_band(Band(100, 900, parts), source, block_bytes=1 << 10, **TOLD)
    found = torch.cat([part.tensor for part in parts], dim=1).cpu().numpy()
    np.testing.assert_array_equal(found, rows[100:900])
    assert len(source.addresses) <= THREADS + 2


@pytest.mark.parametrize("device", DEVICES)
def test_whole_rows(rows, device) -> None:
    target = torch.zeros((1000, 6), device=device)
    fill_band(Band(0, 1000, (RowsPart(0, 0, target),)), ArrayRows(rows), block_bytes=1 << 10, **TOLD)
    np.testing.assert_array_equal(target.cpu().numpy(), rows)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("block_bytes", [1, 1 << 10, 1 << 20])
def test_rows_in_any_order(rows, device, block_bytes) -> None:
    target = strided(1000, 6, device)
    order = np.random.default_rng(1).permutation(1000)
    with putting_into(Band(0, 1000, (RowsPart(0, 0, target),)), block_bytes=block_bytes, **TOLD) as put:
        put(order[:700], np.ascontiguousarray(rows[order[:700], :2]), 0)
        put(order[:700], np.ascontiguousarray(rows[order[:700], 2:]), 2)
        put(order[700:], rows[order[700:]], 0)
    np.testing.assert_array_equal(target.cpu().numpy(), rows)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("stored", "dtype"), [("float32", "float16"), ("float32", "bfloat16"), ("float16", "float32")])
def test_rows_are_cast_where_they_arrive(device, stored, dtype) -> None:
    rows = np.random.default_rng(0).standard_normal((1000, 6)).astype(stored)
    rows[3, 1] = np.inf
    narrow = rows.astype(getattr(ml_dtypes, dtype, dtype))
    target = strided(1000, 6, device).to(getattr(torch, dtype))[:, :]
    band = Band(0, 1000, (RowsPart(0, 0, target[:, :2]), RowsPart(0, 2, target[:, 2:])))
    fill_band(band, ArrayRows(narrow), block_bytes=1 << 10, **TOLD, before_cast=ArrayRows(rows))
    np.testing.assert_array_equal(as_array(target.cpu()).astype(np.float64), narrow.astype(np.float64))


@pytest.mark.parametrize("device", DEVICES)
def test_a_cast_that_overflows_is_told_by_the_rows(rows, device) -> None:
    class Telling(ArrayRows):
        def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
            raise IncompatibleError(ErrorKind.CAST_OVERFLOW, f"in {start}:{end}")

    rows[700, 5] = 1e30
    band = Band(0, 1000, (RowsPart(0, 0, strided(1000, 6, device).half()[:, :3]),))
    fill_band(band, Telling(np.zeros(rows.shape, np.float16)), block_bytes=1 << 10, **TOLD, before_cast=ArrayRows(rows))
    band = Band(0, 1000, (RowsPart(0, 3, strided(1000, 6, device).half()[:, 3:]),))
    with pytest.raises(IncompatibleError) as caught:
        fill_band(
            band, Telling(np.zeros(rows.shape, np.float16)), block_bytes=1 << 10, **TOLD, before_cast=ArrayRows(rows)
        )
    assert caught.value.kind is ErrorKind.CAST_OVERFLOW


def test_a_buffer_whose_block_failed_is_free_again() -> None:
    with DeviceCopies(torch.device("cpu"), num_buffers=1, buffer_bytes=64) as copies:
        for _ in range(3):
            with pytest.raises(OSError, match="gone"), copies.block(2, 8, torch.float32):
                raise OSError("gone")
        with copies.block(2, 8, torch.float32) as block:
            assert block.shape == (2, 8)

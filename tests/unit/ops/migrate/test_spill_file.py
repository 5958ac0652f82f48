"""Regions of rows that several threads write at once, and read as a whole."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from embsnap.errors import ErrorKind, StorageError
from embsnap.kernels.threads import run
from embsnap.ops.migrate import spill_file
from embsnap.ops.migrate.spill_file import SpillFile


@pytest.mark.parametrize("row_bytes", [1, 260, 4096, 10_000])
@pytest.mark.parametrize("write_bytes", [1, 1 << 20])
@pytest.mark.parametrize("is_direct", [True, False])
def test_each_row_is_where_it_was_said_to_be(
    row_bytes: int, write_bytes: int, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_direct:
        monkeypatch.setattr(spill_file, "_DIRECT", 0)
    rng = np.random.default_rng(row_bytes)
    rows = rng.integers(0, 256, (600, row_bytes)).astype(np.uint8)
    region_N = rng.choice([0, 1, 3], 600)  # region 2 stays empty
    place_N = np.empty(600, np.int64)

    def move(first: int, file: SpillFile) -> None:
        for region in (0, 1, 3):
            here = first + np.flatnonzero(region_N[first : first + 50] == region)
            place_N[here] = file.append(region, rows[here]) + np.arange(len(here))

    with tempfile.TemporaryFile() as opened:
        num_rows = np.bincount(region_N, minlength=4).tolist()
        file = SpillFile(opened.fileno(), num_rows, row_bytes, write_bytes=write_bytes, most_loaded=2)
        run([partial(move, first, file) for first in range(0, 600, 50)], 4)
        file.finish()

        def check(number: int) -> None:
            region = int(region_N[number])
            assert file.mapped(region)[place_N[number]].tobytes() == rows[number].tobytes()
            with file.loaded(region) as loaded:
                assert loaded[place_N[number]].tobytes() == rows[number].tobytes()

        checks: list[Callable[[], None]] = [partial(check, number) for number in range(600)]
        run(checks, 4)


def test_a_file_system_that_goes_through_its_cache_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the flag, and refuses the write."""
    write, refused = os.pwrite, []

    def refuse_once(fd: int, data: memoryview, offset: int) -> int:
        if not refused:
            refused.append(offset)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", refuse_once)
    with tempfile.TemporaryFile() as opened:
        file = SpillFile(opened.fileno(), [3], 8, write_bytes=1, most_loaded=1)
        assert file.append(0, np.full((2, 8), 7, np.uint8)) == 0
        assert file.append(0, np.full((1, 8), 9, np.uint8)) == 2
        file.finish()
        with file.loaded(0) as rows:
            assert rows.tolist() == [[7] * 8, [7] * 8, [9] * 8]
    assert refused == [0]


def test_a_disk_that_is_full_ends_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: memoryview, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with tempfile.TemporaryFile() as opened:
        file = SpillFile(opened.fileno(), [4000, 4000], 8, write_bytes=1, most_loaded=1)
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="no room to be reordered") as caught:
            run([partial(file.append, number % 2, np.zeros((1000, 8), np.uint8)) for number in range(8)], 4)
    assert caught.value.kind is ErrorKind.DISK_FULL

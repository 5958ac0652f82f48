"""Arrays beyond the memory budget."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, StorageError
from embsnap.ops.stats.scratch import Scratch


def test_what_fits_is_memory_and_the_rest_a_file_without_a_name(tmp_path):
    scratch = Scratch(1000, str(tmp_path))
    small, large = scratch.empty(100, np.float64), scratch.empty(100, np.float64)
    assert small.base is None
    assert isinstance(large.base, np.memmap)
    large[:] = 2
    assert large.sum() == 200
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_an_error_before_anything_is_read(tmp_path):
    with pytest.raises(StorageError, match="--sample-rows") as caught:
        Scratch(0, str(tmp_path)).empty(1 << 50, np.float64)
    assert caught.value.kind is ErrorKind.DISK_FULL

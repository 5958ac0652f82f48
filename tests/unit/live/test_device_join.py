"""The join on a device gives what the join on the CPU gives."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.join import Joined, join
from embsnap.live.device_join import DeviceJoin
from embsnap.model.vocabulary import BytesIds
from embsnap.ops.vocabulary import align
from embsnap.testing.vocabularies import make_vocabulary

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def assert_same(found: Joined, expected: Joined) -> None:
    for field in fields(Joined):
        left, right = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(left, right, err_msg=field.name)
        if isinstance(right, np.ndarray):
            assert left.dtype == right.dtype


def sides(dtype: type, num_old: int, num_new: int, *, seed: int, span: int, unique: bool) -> tuple[Any, ...]:
    """Ids around both ends of int64 and uint64, and their rows in some order."""
    generator = np.random.default_rng(seed)
    pool = (np.arange(-(span // 2), span - span // 2).astype(np.uint64) + np.uint64(2**63 * (seed % 2))).view(dtype)
    old, new = (generator.choice(pool, count, replace=not unique) for count in (num_old, num_new))
    return old, generator.permutation(2 * num_old)[:num_old], new, generator.permutation(num_new + 5)[:num_new]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
@pytest.mark.parametrize("unique", [True, False])
def test_the_same_as_on_the_cpu(device, dtype, unique) -> None:
    on_device = DeviceJoin(torch.device(device))
    for seed, (num_old, num_new) in enumerate([(0, 0), (0, 4), (4, 0), (1, 1), (50, 70), (900, 700)]):
        joined = sides(dtype, num_old, num_new, seed=seed, span=1000, unique=unique)
        counts = np.arange(num_new) + 1
        for counts_N in (None, counts):
            num_rows = num_new + 5
            assert_same(on_device(*joined, num_rows, counts_N=counts_N), join(*joined, num_rows, counts_N=counts_N))


def test_byte_ids_are_joined_on_the_cpu() -> None:
    ids = BytesIds(np.array([0, 1, 2], np.int64), np.frombuffer(b"ab", np.uint8))
    rows = np.arange(2)
    assert_same(DeviceJoin(torch.device("cpu"))(ids, rows, ids, rows, 2), join(ids, rows, ids, rows, 2))


def test_alignment_by_it_refuses_what_it_always_refuses() -> None:
    on_device, new = DeviceJoin(torch.device("cpu")), make_vocabulary([7, 1, 9])
    row_map, _ = align(make_vocabulary([1, 2, 7]), new, num_new_rows=3, num_old_rows=3, join=on_device)
    assert row_map.row_V.tolist() == [2, 0, -1]
    with pytest.raises(IncompatibleError) as caught:
        align(make_vocabulary([1, 1, 7]), new, num_new_rows=3, num_old_rows=3, join=on_device)
    assert caught.value.kind is ErrorKind.DUPLICATE_IDS


@pytest.mark.gpu
def test_what_does_not_fit_is_joined_on_the_cpu() -> None:
    free = torch.cuda.mem_get_info(0)[0]
    assert not DeviceJoin(torch.device("cuda:0"))._fits(np.empty(0, np.int64), np.empty(0, np.int64), free)

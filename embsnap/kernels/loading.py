"""Loading kernels ahead of their first use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import numpy as np

from embsnap.kernels.gather import gather_rows, split_by_band
from embsnap.kernels.hashing import fingerprint, row_keys
from embsnap.kernels.initialize import Uniform, fill
from embsnap.kernels.join import join
from embsnap.kernels.rows import check_rows
from embsnap.model.vocabulary import IdType

__all__ = ["kernels_loading"]


@contextmanager
def kernels_loading() -> Iterator[None]:
    """Load what a warm start of integer ids uses, in a thread of its own, while a `with` block waits for files.

    From numba's cache this takes 0.2 s, most of it in numba's own start; without a cache, a compilation.
    """
    thread = Thread(target=_call_each, name="embsnap-kernels", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _call_each() -> None:
    one = np.zeros(1, np.int64)
    fingerprint(IdType.INT64, one, one, threads=1)
    check_rows(one, 1)
    join(one, one, one, one, 1, threads=1)
    split_by_band(one, one)
    rows = np.zeros((1, 4), np.uint8)
    gather_rows(rows, one, one, np.zeros((1, 4), np.uint8), 0)
    fill(np.zeros((1, 1), np.float32), row_keys(0, 1), table_key=0, seed=0, spec=Uniform(0.0, 1.0))

"""Loading kernels ahead of their first use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import numpy as np

from embsnap.kernels.gather import gather_bands, gather_rows, split_by_band
from embsnap.kernels.hashing import fingerprint, row_keys
from embsnap.kernels.initialize import Uniform, fill
from embsnap.kernels.join import join
from embsnap.kernels.narrowing import narrow
from embsnap.kernels.rows import check_rows
from embsnap.model.vocabulary import IdType

__all__ = ["kernels_loading", "load_fingerprint", "load_join", "load_migration", "load_warmstart"]


@contextmanager
def kernels_loading(load: Callable[[], object]) -> Iterator[None]:
    """Load kernels in a thread of its own, while a `with` block waits for files.

    From numba's cache the first kernel takes 0.2 s, most of it in numba's own start; without a cache, a compilation.

    Args:
        load: Calls each of them once: `load_fingerprint`, `load_join`, `load_warmstart`, `load_migration`.
    """
    thread = Thread(target=load, name="embsnap-kernels", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def load_fingerprint() -> None:
    """Load what a fingerprint of integer ids uses."""
    one = np.zeros(1, np.int64)
    fingerprint(IdType.INT64, one, one, threads=1)


def load_join() -> None:
    """Load what following entities with integer ids uses."""
    load_fingerprint()
    one = np.zeros(1, np.int64)
    check_rows(one, 1)
    join(one, one, one, one, 1, threads=1)


def load_warmstart() -> None:
    """Load what a warm start of integer ids uses."""
    load_join()
    one = np.zeros(1, np.int64)
    split_by_band(one, one)
    rows = np.zeros((1, 4), np.uint8)
    gather_rows(rows, one, one, np.zeros((1, 4), np.uint8), 0)
    gather_bands(one, 0, one, one.copy(), 4, rows, 0, one.copy())
    fill(np.zeros((1, 1), np.float32), row_keys(0, 1), table_key=0, seed=0, spec=Uniform(0.0, 1.0))


def load_migration() -> None:
    """Load what a migration to another vocabulary and to 16 bits uses."""
    load_warmstart()
    narrow(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float16))

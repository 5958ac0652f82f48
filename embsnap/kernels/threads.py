"""Running kernels on several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TypeVar

__all__ = ["run", "split"]

T = TypeVar("T")


def run(tasks: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """Call each of `tasks`, at most `threads` at a time, and return their results in the order of `tasks`.

    The threads live for this call only, so that nothing is left behind to a fork. With one thread or one task
    everything happens in the caller's.

    Raises:
        BaseException: What the first task to fail raised, once no task is running any more; tasks that had not begun
            by then are left out.
    """
    if threads <= 1 or len(tasks) <= 1:
        return [task() for task in tasks]
    with ThreadPoolExecutor(min(threads, len(tasks)), thread_name_prefix="embsnap") as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for future in done:
        if (error := future.exception()) is not None:
            raise error
    return [future.result() for future in futures]


def split(total: int, num_ranges: int) -> list[tuple[int, int]]:
    """Cut `[0, total)` into at most `num_ranges` half-open ranges of nearly equal length, none of them empty."""
    num_ranges = max(1, min(num_ranges, total))
    bounds = [total * i // num_ranges for i in range(num_ranges + 1)]
    return [(start, end) for start, end in pairwise(bounds) if end > start]

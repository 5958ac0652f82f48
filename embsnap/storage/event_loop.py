"""Running coroutines on the event loop that the clients of object stores share, and what blocks in threads."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, TypeVar

from fsspec.asyn import get_loop

__all__ = ["in_thread", "run"]

Result = TypeVar("Result")
_GRACE_S = 2.0

_Job = Callable[[], None]
_idle_threads: list[SimpleQueue[_Job]] = []
"""Of each thread that has nothing to do, where it waits for the next job."""
os.register_at_fork(after_in_child=_idle_threads.clear)


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The coroutine's result. The loop runs in a thread of its own, made on first use and anew after a fork.

    When the wait is interrupted, the coroutine is cancelled and has ended before the interruption goes on, so that
    nothing is written into its buffers afterwards.
    """
    ended = threading.Event()

    async def watched() -> Result:
        try:
            return await coroutine
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(watched(), get_loop())
    try:
        return future.result()
    except BaseException:
        if not future.done():
            future.cancel()
            ended.wait(_GRACE_S)
        raise


async def in_thread(function: Callable[[], Result], stop: Callable[[], bool] | None = None) -> Result:
    """The result of a function that blocks, called in a thread of its own.

    Unlike those of `asyncio.to_thread`, the thread does not keep the process alive when nobody waits for it any more.

    Args:
        function: What to call.
        stop: Called when nobody waits for the result any more; says whether the function ends now. If so, it has ended
            before this goes on.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()
    ended = asyncio.Event()

    def settle(set_it: Callable[[Any], None], outcome: Any) -> None:
        ended.set()
        if not future.done():
            set_it(outcome)

    def work() -> None:
        try:
            result = function()
        except Exception as error:
            loop.call_soon_threadsafe(settle, future.set_exception, error)
        else:
            loop.call_soon_threadsafe(settle, future.set_result, result)

    _queue_of_a_thread().put(work)
    try:
        return await future
    except asyncio.CancelledError:
        if stop is not None and stop():
            await asyncio.wait([asyncio.ensure_future(ended.wait())], timeout=_GRACE_S)
        raise


def _queue_of_a_thread() -> SimpleQueue[_Job]:
    """Of an idle thread, or of a new one."""
    try:
        return _idle_threads.pop()
    except IndexError:
        jobs: SimpleQueue[_Job] = SimpleQueue()
        threading.Thread(target=_work, args=(jobs,), name="embsnap-blocking", daemon=True).start()
        return jobs


def _work(jobs: SimpleQueue[_Job]) -> None:
    """Do one job after the other; between them the thread is idle."""
    while True:
        jobs.get()()
        _idle_threads.append(jobs)

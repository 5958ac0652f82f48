"""Running coroutines on the event loop that the clients of object stores share, from any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fsspec.asyn import get_loop

__all__ = ["in_thread", "run"]

Result = TypeVar("Result")
_GRACE_S = 2.0


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


async def in_thread(function: Callable[[], Result]) -> Result:
    """The result of a function that blocks, called in a thread of its own.

    Unlike those of `asyncio.to_thread`, the thread does not keep the process alive when nobody waits for it any more.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(set_it: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            set_it(outcome)

    def work() -> None:
        try:
            result = function()
        except Exception as error:
            loop.call_soon_threadsafe(settle, future.set_exception, error)
        else:
            loop.call_soon_threadsafe(settle, future.set_result, result)

    threading.Thread(target=work, name="embsnap-blocking", daemon=True).start()
    return await future

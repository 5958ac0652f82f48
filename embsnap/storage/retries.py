"""Trying again: what a store may repeat, how long it waits in between, and when it gives up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from embsnap.errors import ErrorKind, StorageError

__all__ = ["DEFAULT_TIMEOUT_S", "TransientError", "persist"]

Result = TypeVar("Result")

DEFAULT_TIMEOUT_S = 60.0
"""For one request with all its repetitions."""
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 8.0
_SHARE_OF_FIRST_ATTEMPT = 0.25


class TransientError(Exception):
    """One attempt failed in a way that the next one may not.

    Attributes:
        wait_s: How long the server asked to be left alone, in seconds.
        kind: Of the error that is raised when there is no time left.
    """

    def __init__(self, problem: str, *, wait_s: float = 0.0, kind: ErrorKind = ErrorKind.STORAGE_FAILED) -> None:
        """Say what went wrong."""
        super().__init__(problem)
        self.wait_s = wait_s
        self.kind = kind


async def persist(attempt: Callable[[float], Awaitable[Result]], *, timeout_s: float, where: str) -> Result:
    """Repeat an attempt until it succeeds, with growing, random pauses.

    Args:
        attempt: Called with the seconds of silence after which it should give up (a quarter of `timeout_s`, doubled
            each time). It raises `TransientError` where another attempt makes sense; any other error ends this.
        timeout_s: For all attempts and pauses together. An attempt that runs longer is cancelled.
        where: URI, for the message.

    Raises:
        StorageError: Time is up (`timed-out` during an attempt; otherwise the kind of the last failure).
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    failures: list[TransientError] = []
    try:
        async with asyncio.timeout_at(start + timeout_s):
            while True:
                silence_s = timeout_s * _SHARE_OF_FIRST_ATTEMPT * 2 ** min(len(failures), 8)
                try:
                    return await attempt(silence_s)
                except TransientError as failure:
                    failures.append(failure)
                delay_s = _delay(len(failures), failures[-1].wait_s)
                if loop.time() + delay_s >= start + timeout_s:
                    raise _gave_up(failures, timeout_s, where) from failures[-1]
                await asyncio.sleep(delay_s)
    except TimeoutError as error:
        if isinstance(error, StorageError):
            raise
        raise _timed_out(failures, timeout_s, where) from (failures[-1] if failures else None)


def _delay(num_failures: int, asked_s: float) -> float:
    """Seconds to wait: doubled each time, between half of it and all of it by chance, so that clients spread out."""
    longest = min(_FIRST_DELAY_S * 2.0 ** min(num_failures - 1, 16), _LONGEST_DELAY_S)
    return float(max(asked_s, longest * random.uniform(0.5, 1.0)))


_HINT = "check the connection and run the command again; --timeout S allows one request more than {:g} s"


def _gave_up(failures: list[TransientError], timeout_s: float, where: str) -> StorageError:
    times = "once" if len(failures) == 1 else f"{len(failures)} times"
    problem = f"the storage failed {times}, and there was no time for more within {timeout_s:g} s"
    hint = _HINT.format(timeout_s)
    return StorageError(failures[-1].kind, problem, where=where, found=str(failures[-1]), hint=hint)


def _timed_out(failures: list[TransientError], timeout_s: float, where: str) -> StorageError:
    found = f"no answer; before that: {failures[-1]}" if failures else "no answer"
    problem, hint = f"did not finish within {timeout_s:g} s", _HINT.format(timeout_s)
    return StorageError(ErrorKind.TIMED_OUT, problem, where=where, found=found, hint=hint)

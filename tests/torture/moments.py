"""Getting a signal at a chosen one of the calls by which a process changes files, or soon after it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Moment", "count_calls", "signal_at"]

_CALLS = ("open", "mkdir", "write", "posix_fadvise", "fsync", "link", "close", "unlink", "rmdir")
"""Of the module `os`: all that the local store changes files by."""


@dataclass(frozen=True)
class Moment:
    """When it comes: before the call of this number once something is at the destination, or so long after it began."""

    call: int
    delay_s: float
    number: int = signal.SIGKILL


@dataclass
class _Calls:
    """Counts the calls from the first that makes something in a directory on."""

    directory: str
    moment: Moment | None
    count: int = 0
    begun_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def passing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def passed(*arguments: Any, **named: Any) -> Any:
            self._pass(arguments)
            return call(*arguments, **named)

        return passed

    def _pass(self, arguments: tuple[Any, ...]) -> None:
        with self._lock:
            is_here = bool(arguments) and isinstance(arguments[0], str) and arguments[0].startswith(self.directory)
            if not self.count and not is_here:
                return
            self.begun_s = self.begun_s or time.monotonic()
            self.count += 1
            is_time = self.moment is not None and self.count == self.moment.call
        if is_time and self.moment is not None:
            _send(self.moment)


def count_calls(directory: str) -> _Calls:
    """Count this process's calls from now on."""
    return _watch(_Calls(directory, None))


def signal_at(directory: str, moment: Moment) -> None:
    """Send this process a signal at a moment of its work on a directory."""
    _watch(_Calls(directory, moment))


def _watch(calls: _Calls) -> _Calls:
    for name in _CALLS:
        setattr(os, name, calls.passing(getattr(os, name)))
    return calls


def _send(moment: Moment) -> None:
    """As if by `kill`, now or by a thread of its own while the others go on."""
    if moment.delay_s:
        threading.Timer(moment.delay_s, os.kill, (os.getpid(), moment.number)).start()
    else:
        os.kill(os.getpid(), moment.number)

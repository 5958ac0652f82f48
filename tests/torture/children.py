"""Work in forked children: each begins with everything imported and nothing running, and may be killed at any moment.

The process that forks runs no threads of its own, so that every child starts from the same state.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from embsnap.cli.main import main

__all__ = ["Child", "Ran", "in_child", "run_command", "run_here", "start"]

_HUNG_AFTER_S = 300
_CPU_LIMIT_S = 120


@dataclass(frozen=True)
class Ran:
    """One command."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Child:
    """A process at work."""

    pid: int
    _answer: int
    """Where it writes what its work came to."""

    def kill(self) -> None:
        """As `kill -9` does."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Any:
        """What its work returned, or None if it was killed.

        Raises:
            RuntimeError: It failed, or took longer than anything may.
        """
        with os.fdopen(self._answer, "rb") as pipe:
            data = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return None
        if os.waitstatus_to_exitcode(status) != 0:
            raise RuntimeError(
                f"a child ended with {os.waitstatus_to_exitcode(status)}: {data.decode(errors='replace')}"
            )
        return pickle.loads(data)


def start(work: Callable[[], Any]) -> Child:
    """Fork, and work there."""
    answer, pipe = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(pipe)
        return Child(pid, answer)
    os.close(answer)
    signal.alarm(_HUNG_AFTER_S)
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S))
    try:
        data, status = pickle.dumps(work()), 0
    except BaseException:
        data, status = traceback.format_exc().encode(), 1
    with contextlib.suppress(OSError), os.fdopen(pipe, "wb") as file:
        file.write(data)
    os._exit(status)


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returns, done in a child; errors as those of `Child.wait`."""
    return start(work).wait()


def run_command(arguments: Sequence[str]) -> Ran:
    """Run `embsnap` in this process."""
    return run_here(lambda: main(list(arguments)))


def run_here(work: Callable[[], int]) -> Ran:
    """Do something that ends with an exit code in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        exit_code = work()
    return Ran(exit_code, stdout.getvalue(), stderr.getvalue())

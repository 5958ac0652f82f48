"""Progress on stderr: a bar on a terminal, one line per long task elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embsnap.cli.escaping import printable
from embsnap.cli.output import format_bytes
from embsnap.model.progress import SILENT, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

__all__ = ["TerminalProgress", "progress_on_stderr"]

_PATIENCE_S = 2.0
"""A task that is shorter than this is not worth a word."""


@contextmanager
def progress_on_stderr(*, quiet: bool) -> Iterator[Progress]:
    """The observer of a command for the time of a `with` block: silent if it is to be quiet.

    On a terminal the package's log messages are shown too, such as that kernels are compiled in a first run.
    """
    if quiet:
        yield SILENT
        return
    progress = TerminalProgress()
    with _log_on_terminal():
        try:
            yield progress
        finally:
            progress.close()


@contextmanager
def _log_on_terminal() -> Iterator[None]:
    if not sys.stderr.isatty():
        yield
        return
    log, handler = logging.getLogger("embsnap"), logging.StreamHandler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


@dataclass(slots=True)
class _Task:
    total: int
    unit: str
    started_s: float
    done: int = 0
    bar: TaskID | None = None


class TerminalProgress:
    """Observer that tells of tasks which take longer than two seconds."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._tasks: dict[str, _Task] = {}
        self._bars: Bars | None = None
        self._lock = threading.Lock()

    def start(self, task: str, total: int, unit: str = "B") -> None:
        """A step begins."""
        with self._lock:
            self._tasks[task] = _Task(total, unit, time.monotonic())

    def advance(self, task: str, amount: int) -> None:
        """So much more of it is done."""
        with self._lock:
            state = self._tasks[task]
            state.done += amount
            if sys.stderr.isatty() and self._is_long(state):
                self._draw(task, state)

    def finish(self, task: str) -> None:
        """It is over: its bar goes, and a line stays."""
        with self._lock:
            state = self._tasks.pop(task)
            self._erase(state)
            if self._is_long(state):
                print(_summary(task, state), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take down what is still drawn, after an error."""
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
                self._bars = None

    def _is_long(self, state: _Task) -> bool:
        return time.monotonic() - state.started_s >= self._patience_s

    def _draw(self, task: str, state: _Task) -> None:
        if self._bars is None:
            self._bars = _new_bars()
            self._bars.start()
        if state.bar is None:
            state.bar = self._bars.add_task(printable(task), total=state.total, amount="")
        self._bars.update(state.bar, completed=state.done, amount=_amount(state))

    def _erase(self, state: _Task) -> None:
        if self._bars is None or state.bar is None:
            return
        self._bars.remove_task(state.bar)
        if not self._bars.task_ids:
            self._bars.stop()
            self._bars = None


def _new_bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    amount = TextColumn("{task.fields[amount]}", markup=False)
    columns = (text, BarColumn(bar_width=20), TaskProgressColumn(), amount, TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _amount(state: _Task) -> str:
    """How far it is, and how fast if that is in bytes."""
    if state.unit != "B":
        return f"{state.done:,} of {state.total:,} {state.unit}"
    rate = format_bytes(int(state.done / max(time.monotonic() - state.started_s, 1e-9)))
    return f"{format_bytes(state.done)} of {format_bytes(state.total)}, {rate}/s"


def _summary(task: str, state: _Task) -> str:
    amount = format_bytes(state.done) if state.unit == "B" else f"{state.done:,} {state.unit}"
    return f"{printable(task)}: {amount} in {time.monotonic() - state.started_s:.1f} s"

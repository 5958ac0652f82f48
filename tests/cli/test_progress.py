"""Progress on stderr, on a terminal and elsewhere."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from contextlib import redirect_stderr, suppress

import pytest

from embsnap.cli.progress import TerminalProgress, progress_on_stderr
from embsnap.model.progress import SILENT

_COMPILING = """
import numpy as np
from embsnap.cli.progress import progress_on_stderr
with progress_on_stderr(quiet=False):
    from embsnap.kernels.rows import check_rows
    check_rows(np.zeros(1, np.int64), 1)
    check_rows(np.zeros(1, np.int64), 1)
"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def _work(progress, task="copy", steps=4, unit="B"):
    progress.start(task, steps * 1024, unit)
    for _ in range(steps):
        progress.advance(task, 1024)
    progress.finish(task)


def test_a_short_task_says_nothing(capsys):
    with progress_on_stderr(quiet=False) as progress:
        _work(progress)
    assert capsys.readouterr() == ("", "")


def test_quiet_says_nothing():
    with progress_on_stderr(quiet=True) as progress:
        assert progress is SILENT


@pytest.mark.parametrize(("unit", "amount"), [("B", "4.0 KiB"), ("rows", "4,096 rows")])
def test_off_a_terminal_a_long_task_leaves_one_plain_line(capsys, unit, amount):
    _work(TerminalProgress(patience_s=0.0), "copy\x1b[2J", unit=unit)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"copy\\x1b[2J: {amount} in ")
    assert captured.err.count("\n") == 1
    assert "\x1b" not in captured.err


def test_on_a_terminal_a_long_task_draws_a_bar_and_takes_it_down(terminal):
    progress = TerminalProgress(patience_s=0.0)
    with redirect_stderr(terminal):
        _work(progress, "copy [bold]x")
    text = terminal.getvalue()
    assert "copy [bold]x" in text
    assert "━" in text
    assert text.rstrip().splitlines()[-1].startswith("copy [bold]x: 4.0 KiB in ")
    assert progress._bars is None


def _fail_at_work():
    with progress_on_stderr(quiet=False) as progress:
        progress._patience_s = 0.0
        progress.start("copy", 10)
        progress.advance("copy", 1)
        raise RuntimeError


def test_an_error_gives_the_cursor_back(terminal):
    with redirect_stderr(terminal), pytest.raises(RuntimeError):
        _fail_at_work()
    text = terminal.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_many_threads_may_report(capsys):
    progress = TerminalProgress(patience_s=0.0)
    progress.start("copy", 8000, "rows")
    threads = [threading.Thread(target=lambda: [progress.advance("copy", 1) for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress.finish("copy")
    assert capsys.readouterr().err.startswith("copy: 8,000 rows in ")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_is_told_once_that_kernels_are_compiled(tmp_path, is_terminal):
    main, side = os.openpty() if is_terminal else os.pipe()
    environ = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", _COMPILING], stderr=side, env=environ, check=True, timeout=60)
    os.close(side)
    told = b""
    with suppress(OSError), open(main, "rb") as output:  # a closed terminal is an error to whoever reads it
        told = output.read1()
    assert told.count(b"compiling kernels") == is_terminal

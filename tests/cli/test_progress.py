"""Progress on stderr, on a terminal and elsewhere."""

from __future__ import annotations

import io
import threading
from contextlib import redirect_stderr

import pytest

from embsnap.cli.progress import TerminalProgress, progress_on_stderr
from embsnap.model.progress import SILENT


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

"""The `embsnap` command: it finds the subcommand, runs it, and owns the exit codes.

0  done, and the answer is yes          5  the two sides do not fit
1  done, and the answer is no           6  storage, permission, disk full
2  usage                                7  refused: the destination is taken
3  not found, or ambiguous             70  a bug in embsnap
4  not a committed, readable snapshot  130 interrupted, 143 terminated, 141 closed pipe
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from embsnap.cli.completion import complete
from embsnap.cli.failures import Terminated, close_pipe, describe, is_of_output
from embsnap.cli.group import group

__all__ = ["main"]

_CLOSED_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; those of the process if None.

    Returns:
        The exit code. Results go to stdout, everything else to stderr.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    gc.set_threshold(100_000, 50, 50)  # imports make half a million objects and no garbage
    with _termination_raises():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    if sys.stdout is None:  # it was closed: as after `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
    try:
        return _attempt(arguments)
    except BrokenPipeError:
        close_pipe()
        return _CLOSED_PIPE
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        return _fail(error, arguments)


def _attempt(arguments: list[str]) -> int:
    try:
        exit_code = _invoke(arguments)
    except click.exceptions.Exit as stop:
        exit_code = stop.exit_code
    sys.stdout.flush()
    return exit_code


def _invoke(arguments: list[str]) -> int:
    if instruction := os.environ.get("_EMBSNAP_COMPLETE"):
        return complete(instruction)
    with group.make_context("embsnap", list(arguments)) as context:
        answer = group.invoke(context)
    return answer if isinstance(answer, int) else 0


def _fail(error: BaseException, arguments: list[str]) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message(), file=sys.stderr)
        return 2
    if _asked(arguments, "--traceback"):
        traceback.print_exception(error)
    failure = describe(error)
    if is_of_output(error):
        close_pipe()
    failure.show(as_json=_asked(arguments, "--json"))
    return failure.exit_code


def _asked(arguments: list[str], flag: str) -> bool:
    """Whether a flag was given, read without the parser: its own errors are shown by it too."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return flag in options


@contextmanager
def _termination_raises() -> Iterator[None]:
    """SIGTERM raises `Terminated` in the main thread, so that what was begun is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(signum: int, frame: object) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)

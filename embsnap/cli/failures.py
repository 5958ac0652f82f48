"""How a command that did not come to its end ends: the message on stderr and the exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from dataclasses import dataclass
from typing import TypeGuard

import click

from embsnap.cli.escaping import printable
from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.storage.local_errors import storage_error

__all__ = ["Failure", "Terminated", "close_pipe", "describe", "is_of_output"]

_BUG_HINT = "run the command again as `embsnap --traceback …` and report what it prints"
_MEMORY_HINT = "check the numbers of rows and columns that were asked for, or use a machine with more memory"
_SCHEMA = {"schema": "embsnap.error", "version": 1}
_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""What a write to a file by redirection can fail with."""


class Terminated(BaseException):
    """SIGTERM arrived. Not an Exception, so that only clean-up code sees it pass."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure, ready to be shown.

    Attributes:
        exit_code: What the process ends with.
        kind: Stable string: an `ErrorKind`, `bug`, `interrupted`, `terminated` or `out-of-memory`.
        message: For people, several lines at most.
        details: What else an error carries, for scripts.
    """

    exit_code: int
    kind: str
    message: str
    details: dict[str, str | None]

    def show(self, *, as_json: bool) -> None:
        """Write it to stderr."""
        if as_json:
            fields = {"exit_code": self.exit_code, "kind": self.kind, "message": self.message, **self.details}
            text = json.dumps({**_SCHEMA, **fields}, indent=2)
        else:
            text = f"embsnap: {self.message}"
        print(text, file=sys.stderr, flush=True)


def describe(error: BaseException) -> Failure:
    """What to say about `error`, which ended a command."""
    if isinstance(error, EmbsnapError):
        return _of_embsnap(error)
    if isinstance(error, click.ClickException):
        return _of_click(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Failure(130, "interrupted", "interrupted", {})
    if isinstance(error, Terminated):
        return Failure(143, "terminated", "terminated", {})
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return Failure(6, "out-of-memory", f"there is not enough memory{_reason(error)}\n  try: {_MEMORY_HINT}", {})
    if is_of_output(error):
        return _of_embsnap(storage_error(error, "standard output"))
    return _of_bug(error)


def is_of_output(error: BaseException) -> TypeGuard[OSError]:
    """Whether stdout takes no more. Where embsnap opens a file itself, it raises an error of its own."""
    return isinstance(error, OSError) and not isinstance(error, EmbsnapError) and error.errno in _OF_OUTPUT


def close_pipe() -> None:
    """Once stdout takes no more: keep the interpreter from complaining about it when it flushes it at its end."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def _of_embsnap(error: EmbsnapError) -> Failure:
    details = {name: getattr(error, name) for name in ("where", "problem", "expected", "found", "hint")}
    safe = {name: value and printable(value, keep="\n") for name, value in details.items() if name != "where"}
    where = error.where and printable(error.where)
    message = str(EmbsnapError(error.kind, safe.pop("problem") or "", where=where, **safe))
    return Failure(error.exit_code, error.kind.value, message, details)


def _of_click(error: click.ClickException) -> Failure:
    message = printable(error.format_message(), keep="\n")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "embsnap"
    return Failure(2, ErrorKind.BAD_OPTION.value, f"{message}\n  try: {path} --help", {})


def _reason(error: BaseException) -> str:
    return f": {printable(str(error))}" if str(error) else ""


def _of_bug(error: BaseException) -> Failure:
    summary = printable("".join(traceback.format_exception_only(error)).strip(), keep="\n")
    message = f"this is a bug in embsnap: {summary}\n  try: {_BUG_HINT}"
    return Failure(70, "bug", message, {})

"""How a long operation tells whoever listens how far it is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SILENT", "Progress"]


class Progress(Protocol):
    """Observer of long operations. Methods may be called from any thread and must not block."""

    def start(self, task: str, total: int, unit: str = "B") -> None:
        """A step named `task` begins; it has `total` units (`B` for bytes, `rows`, `ids`)."""

    def advance(self, task: str, amount: int) -> None:
        """`amount` more units of `task` are done."""

    def finish(self, task: str) -> None:
        """`task` is over."""


class _Silent:
    def start(self, task: str, total: int, unit: str = "B") -> None:
        pass

    def advance(self, task: str, amount: int) -> None:
        pass

    def finish(self, task: str) -> None:
        pass


SILENT: Progress = _Silent()
"""The observer of a library caller who plugs in nothing."""

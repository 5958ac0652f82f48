"""Text from snapshots and vocabularies made safe for a terminal.

Names in a snapshot are somebody else's bytes. Printed as they are, an escape sequence in one could repaint the
terminal, and a line break could fake a line of the report.
"""

from __future__ import annotations

import unicodedata

__all__ = ["printable"]

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, format characters (bidi overrides, zero width), surrogates, separators."""


def printable(text: str, keep: str = "") -> str:
    r"""`text` with everything that is not a visible character written as a Python escape.

    Args:
        text: Anything.
        keep: Characters that stay as they are, e.g. line breaks in a message that embsnap composed itself.

    >>> printable("user\x1b[2J\n")
    'user\\x1b[2J\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if char not in keep and _is_unsafe(char) else char for char in text)


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in _UNSAFE


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")

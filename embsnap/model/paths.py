"""Entry paths: `<rank>/<logical path>`, whose segments hold `%` and `/` escaped.

A logical path is the app key and the keys of the nested containers below it, joined by `/`:
`model/ebc.embedding_bags.user.weight`. Inside a segment `%` stands as `%25` and `/` as `%2F`, nothing else.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

__all__ = ["child_path", "escape", "join_entry_path", "last_segment", "moved_parameter", "split_entry_path", "unescape"]

_RANK = re.compile(r"0|[1-9][0-9]{0,8}")
_MAX_RANK_DIGITS = 9


def escape(key: str) -> str:
    """A key as a segment of a path.

    >>> escape("k/ey%41")
    'k%2Fey%2541'
    """
    return key.replace("%", "%25").replace("/", "%2F")


def unescape(segment: str) -> str:
    """A segment of a path as the key it came from.

    >>> unescape("k%2Fey%2541")
    'k/ey%41'
    """
    return unquote(segment) if "%" in segment else segment


def split_entry_path(path: str) -> tuple[int, str] | None:
    """`0/model/dense.weight` → `(0, "model/dense.weight")`, or None if there is no rank in front.

    A rank has no leading zeros, so that no two paths mean the same.
    """
    first, slash, logical = path.partition("/")
    rank = _rank(first) if slash and len(first) <= _MAX_RANK_DIGITS else None
    return None if rank is None else (rank, logical)


@lru_cache(maxsize=4096)
def _rank(text: str) -> int | None:
    return int(text) if _RANK.fullmatch(text) else None


def join_entry_path(rank: int, logical: str) -> str:
    """`(0, "model/dense.weight")` → `0/model/dense.weight`."""
    return f"{rank}/{logical}"


def child_path(parent: str, key: str | int | bool) -> str:
    """The path of the value that a container holds under `key`."""
    return f"{parent}/{escape(str(key))}"


def last_segment(path: str) -> str:
    """The key of the last segment of a path, unescaped."""
    return unescape(path.rpartition("/")[2])


def moved_parameter(parameter: str, old_key: str, new_key: str) -> str:
    """What an optimizer calls a weight whose state key changes: with a prefix, or without the key's first names.

    >>> moved_parameter("fused_opt.ebc.old.weight", "ebc.old.weight", "ebc.new.weight")
    'fused_opt.ebc.new.weight'
    >>> moved_parameter("ebc.old.weight", "large.ebc.old.weight", "large.ebc.new.weight")
    'ebc.new.weight'
    """
    if parameter.endswith(old_key):
        return parameter[: len(parameter) - len(old_key)] + new_key
    if old_key.endswith(f".{parameter}"):
        return new_key.removeprefix(old_key.removesuffix(parameter))
    return parameter

"""Damaged input for readers: what a reader takes, changed at random, and what may come of it.

A reader of untrusted files either reads them or raises one of embsnap's own errors, in bounded time and memory. Cases
are numbered: the same number gives the same bytes everywhere.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from embsnap.errors import EmbsnapError

__all__ = ["Escape", "FuzzResult", "Target", "fuzz", "mutated"]

_MOST_EDITS = 6
_HOSTILE: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 1.5, -0.0, 1e308),
    *(
        "",
        " ",
        ".",
        "..",
        "../..",
        "/etc/passwd",
        "a/../b",
        "\0",
        "\ud800",
        "\x1b[2J",
        "<b>",
        "%",
        "%2F",
        "😀",
        "x" * 5000,
    ),
    *(
        "torch.float32",
        "torch.float8_e4m3fn",
        "torch_save",
        "Tensor",
        "ShardedTensor",
        "list",
        "0/model",
        "1e999",
        "NaN",
    ),
    *(None, True, False, [], {}, [[]], [0, 0], [-1, 5], [5, 1], [0] * 100, {"type": "Tensor"}, {"": {}}),
)
_TOKENS: tuple[bytes, ...] = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"NaN",
        b"Infinity",
        b"-",
        b"1e999",
        b"null",
    ),
    *(
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!python/name:os.system ",
        b"\n",
        b"\t",
        b"---\n",
        b"# ",
        b"'",
        b"|\n",
        b"${HOME}",
        b"$",
    ),
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"PAR1", b"9" * 400, b"[" * 3000, b"{" * 3000),
)


@dataclass(frozen=True, slots=True)
class Target:
    """One reader."""

    name: str
    seeds: Sequence[bytes]
    """Sound input."""
    read: Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Escape:
    """A case that a reader did not take as it should."""

    target: str
    case: int
    data: bytes
    problem: str


@dataclass(slots=True)
class FuzzResult:
    """What came of the cases of one target."""

    target: str
    num_cases: int = 0
    num_read: int = 0
    """Cases that are sound after all."""
    refused: Counter[str] = field(default_factory=Counter)
    """By kind of error."""
    slowest_s: float = 0.0
    escapes: list[Escape] = field(default_factory=list)


def fuzz(target: Target, cases: range, *, most_s: float = 10.0) -> FuzzResult:
    """Hand damaged input to one reader.

    Args:
        target: The reader.
        cases: Numbers of the cases.
        most_s: A case that takes more CPU time is an escape.
    """
    result = FuzzResult(target.name)
    for case in cases:
        data = mutated(target.seeds, case)
        started = time.process_time()
        try:
            target.read(data)
            result.num_read += 1
        except EmbsnapError as error:
            result.refused[error.kind.value] += 1
            str(error).encode("utf-8", "backslashreplace")
        except Exception as error:
            result.escapes.append(Escape(target.name, case, data, f"{type(error).__name__}: {error}"[:200]))
        took_s = time.process_time() - started
        if took_s > most_s:
            result.escapes.append(Escape(target.name, case, data, f"took {took_s:.1f} s"))
        result.slowest_s = max(result.slowest_s, took_s)
        result.num_cases += 1
    return result


def mutated(seeds: Sequence[bytes], case: int) -> bytes:
    """One of the seeds with a few changes: values and keys where it is JSON, else, or on top of that, bytes."""
    draw = random.Random(case)
    data = draw.choice(seeds)
    how = draw.randrange(4)
    if how != 0 and (changed := _edited_json(data, draw)) is not None:
        data = changed
    return data if how in (1, 2) and data.startswith(b"{") else _edited_bytes(data, draw)


def _edited_json(data: bytes, draw: random.Random) -> bytes | None:
    try:
        tree = json.loads(data)
    except ValueError:
        return None
    for _ in range(draw.randint(1, _MOST_EDITS)):
        _edit(tree, draw)
    return json.dumps(tree).encode()


def _edit(tree: Any, draw: random.Random) -> None:
    """Change, drop, add, rename or copy one value of a tree."""
    place = tree
    while True:
        keys = list(place) if isinstance(place, Mapping) else list(range(len(place)))
        if not keys:
            return
        inner = [key for key in keys if isinstance(place[key], dict | list)]
        key = draw.choice(inner if inner and draw.random() < 0.9 else keys)
        if not isinstance(place[key], dict | list) or draw.random() < 0.1:
            break
        place = place[key]
    how = draw.randrange(5)
    if how == 0:
        del place[key]
    elif how == 1 and isinstance(place, dict):
        place[str(draw.choice(_HOSTILE))] = place.pop(key)
    elif how == 2:
        place[key] = json.loads(json.dumps(place[draw.choice(keys)]))
    elif how == 3 and isinstance(place[key], int) and not isinstance(place[key], bool):
        place[key] += draw.choice((-1, 1, -4, 4, 2**31, -(2**40)))
    else:
        place[key] = deepcopy(draw.choice(_HOSTILE))


def _edited_bytes(data: bytes, draw: random.Random) -> bytes:
    edited = bytearray(data)
    for _ in range(draw.randint(1, _MOST_EDITS)):
        at = draw.randrange(len(edited) + 1)
        span = min(draw.choice((1, 1, 2, 8, 64)), len(edited) - at)
        how = draw.randrange(6)
        if how == 0:
            edited[at:at] = draw.choice(_TOKENS)
        elif how == 1:
            del edited[at : at + span]
        elif how == 2:
            edited[at : at + span] = draw.randbytes(span)
        elif how == 3 and at < len(edited):
            edited[at] ^= 1 << draw.randrange(8)
        elif how == 4:
            edited[at:at] = edited[at : at + span * 4]
        elif draw.random() < 0.2:
            del edited[at:]
    return bytes(edited)

"""Sizes as people write them."""

from __future__ import annotations

import re

from embsnap.ops.memory import available_memory

__all__ = ["parse_size"]

_DECIMAL = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_UNITS = {**_DECIMAL, **_BINARY, **{f"{letter}ib": factor for letter, factor in _BINARY.items()}}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z%]*)", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """A size in bytes, at least 1.

    `kB`, `MB`, `GB`, `TB` are powers of 1000; `KiB`, `MiB`, `GiB`, `TiB` and the bare letters powers of 1024; a
    percentage is of the memory that is available now.

    Raises:
        ValueError: It is none of these.

    >>> parse_size("512MB"), parse_size("1.5 GiB")
    (512000000, 1610612736)
    """
    match = _SIZE.fullmatch(text.strip())
    unit = match[2].lower() if match else "?"
    if match is None or (unit != "%" and unit not in _UNITS):
        raise ValueError(f"{text!r} is no size; write for example 512MB, 4GiB or 25%")
    factor = available_memory() / 100 if unit == "%" else _UNITS[unit]
    num_bytes = int(float(match[1]) * factor)
    if num_bytes < 1:
        raise ValueError(f"{text!r} is less than one byte")
    return num_bytes

"""What the arrays of a snapshot must hold, from the local shards that each rank saved beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_truth"]


def load_truth(directory: Path) -> dict[str, NDArray[Any]]:
    """Whole arrays by logical path; 16-bit floats as their bits.

    Args:
        directory: With `truth.<rank>.npz` files, whose members are named `<logical path>|<offsets>` (`model/w|5,0`).
            Shards of several ranks at the same offsets are copies; the lowest rank's counts.
    """
    shards: dict[str, dict[tuple[int, ...], NDArray[Any]]] = {}
    for file in sorted(directory.glob("truth.*.npz")):
        with np.load(file) as arrays:
            for name, array in arrays.items():
                path, _, offsets = name.rpartition("|")
                start = tuple(int(offset) for offset in offsets.split(",") if offset)
                shards.setdefault(path, {}).setdefault(start, array)
    return {path: _whole(parts) for path, parts in shards.items()}


def _whole(parts: dict[tuple[int, ...], NDArray[Any]]) -> NDArray[Any]:
    ends = [tuple(a + b for a, b in zip(start, part.shape, strict=True)) for start, part in parts.items()]
    whole = np.empty(tuple(map(max, zip(*ends, strict=True))), next(iter(parts.values())).dtype)
    for start, part in parts.items():
        whole[tuple(slice(a, a + b) for a, b in zip(start, part.shape, strict=True))] = part
    return whole

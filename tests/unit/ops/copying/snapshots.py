"""What the tests of copies share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embsnap.ops.copy import CopyOptions, plan_copy, write_copy

ROWS = np.arange(600 * 8, dtype=np.float32).reshape(600, 8)


def copy(source: object, destination: object, **options: object):
    return write_copy(plan_copy(str(source), str(destination), CopyOptions(**options)))


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def flip_bit(path: Path, index: int) -> None:
    data = bytearray(path.read_bytes())
    data[index] ^= 1
    path.write_bytes(data)


class StopAfter:
    """Ends a copy once so many bytes are done, as an interrupt does."""

    def __init__(self, num_bytes: int) -> None:
        self.left = num_bytes

    def start(self, task, total, unit="B"):
        pass

    def advance(self, task, amount):
        self.left -= amount
        if self.left <= 0:
            raise KeyboardInterrupt

    def finish(self, task):
        pass

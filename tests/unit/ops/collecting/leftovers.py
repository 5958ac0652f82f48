"""What the tests of collections share."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from embsnap.ops.gc import GcOptions, apply_gc, plan_gc

ROWS = np.arange(100 * 8, dtype=np.float32).reshape(100, 8)
DAY_S = 24 * 3600
DEAD = "embsnap/abababababab-0"
TEMPORARY = ".embsnap-0123456789abcdef.tmp"


def put(root: Path, names: list[str], *, age_s: float = 2 * DAY_S) -> list[str]:
    """Files of ten bytes each, of that age."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"0123456789")
        os.utime(root / name, (time.time() - age_s,) * 2)
    return names


def dead_run(root: Path, run: str = DEAD, *, age_s: float = 2 * DAY_S) -> list[str]:
    return put(root, [f"{run}/run.json", f"{run}/00000", f"{run}/00001"], age_s=age_s)


def age(root: Path, seconds: float) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - seconds,) * 2)


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def collect(root: object, older_than_s: float = DAY_S):
    return apply_gc(plan_gc(str(root), GcOptions(older_than_s)))


class Stop:
    """Ends a copy or a collection with its first step, as an interrupt does."""

    def start(self, task, total, unit="B"):
        pass

    def advance(self, task, amount):
        raise KeyboardInterrupt

    def finish(self, task):
        pass

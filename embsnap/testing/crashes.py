"""Migrations that are killed while they write, and go on: the result is what an undisturbed one writes.

Temporary files of writers that died at the commit may lie beside it, since another writer could be at work there;
`embsnap gc` removes them.

Every attempt is a process of its own, forked from one that has planned, and dies by SIGKILL after a time drawn at
random. Most are killed more than once before one comes to its end.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embsnap.formats.torchsnapshot import layout
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.ops.gc import GcOptions, apply_gc, plan_gc
from embsnap.ops.migrate.builder import migration
from embsnap.ops.migrate.plan import MigrationOptions, MigrationPlan
from embsnap.storage.local_writer import is_unfinished
from embsnap.testing.tables import write_arrays

__all__ = ["Crashes", "crash_migrations"]

_OBJECT_BYTES = 64 << 10
_NUM_ROWS, _DIM = 20_000, 32
_STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
_MOST_KILLS_OF_ONE = 5
_TIMEOUT_S = 120.0


@dataclass(slots=True)
class Crashes:
    """What came of them."""

    num_kills: int = 0
    """Processes that died after they had begun to write, and before their commit."""
    num_before: int = 0
    """Processes that died before they had written anything."""
    num_after: int = 0
    """Processes that died after their commit, or came to their end before the signal did."""
    num_migrations: int = 0
    num_resumed: int = 0
    """Objects that were there already when a migration that came to its end began."""
    num_temporary: int = 0
    """Temporary files that were beside a finished snapshot, for `embsnap gc` to take."""
    problems: list[str] = field(default_factory=list)
    """What was not as it should be."""


def crash_migrations(root: Path, num_kills: int, seed: int) -> Crashes:
    """Migrate until that many processes were killed while they were writing.

    Args:
        root: An empty directory on a local disk.
        num_kills: How many.
        seed: Of the times at which they die; where a process is then depends on the machine.
    """
    found, rng = Crashes(), random.Random(seed)
    with _small_objects():
        plan = _prepare(root)
        plan.apply(str(root / "warm"))  # what it compiles and loads, the processes have from the start
        began = time.monotonic()
        if _end(_start(plan, root / "whole", resume=False)) != 0:
            raise RuntimeError("the undisturbed migration failed")
        usual_s = time.monotonic() - began
        expected = _files(root / "whole")
        while found.num_kills < num_kills:
            out = root / f"out{found.num_migrations}"
            _migrate(plan, out, usual_s, rng, found)
            found.num_temporary += sum(is_unfinished(path.name) for path in out.rglob("*"))
            apply_gc(plan_gc(str(out), GcOptions(older_than_s=0)))
            found.problems += _differences(out, expected)
            found.num_migrations += 1
            shutil.rmtree(out)
    return found


@contextmanager
def _small_objects() -> Iterator[None]:
    known = layout.PIECE_BYTES, layout.OBJECT_BYTES
    layout.PIECE_BYTES = layout.OBJECT_BYTES = _OBJECT_BYTES
    try:
        yield
    finally:
        layout.PIECE_BYTES, layout.OBJECT_BYTES = known


def _prepare(root: Path) -> MigrationPlan:
    """Two tables, one with optimizer state; the first is renamed, permuted and cast, the second kept as it is."""
    rng = np.random.default_rng(0)
    user, item = (rng.normal(size=(_NUM_ROWS, _DIM)).astype(np.float32) for _ in range(2))
    write_arrays(str(root / "source"), {"user": user, "item": item}, {_STATE: user**2})
    ids = rng.permutation(_NUM_ROWS)
    for name, order in (("old", ids), ("new", rng.permutation(ids))):
        write_vocabulary(Vocabulary(name, IdType.INT64, order, np.arange(_NUM_ROWS)), str(root / f"{name}.parquet"))
    options = MigrationOptions(memory_budget=16 << 20)
    steps = migration(str(root / "source"), options=options).rename({"user": "member"})
    steps = steps.vocab("member", str(root / "old.parquet")).revocab("member", str(root / "new.parquet"))
    return steps.cast("member", "fp16").plan()


def _migrate(plan: MigrationPlan, out: Path, usual_s: float, rng: random.Random, found: Crashes) -> None:
    """One migration to its end, through some deaths."""
    for _ in range(rng.randint(1, _MOST_KILLS_OF_ONE)):
        process = _start(plan, out, resume=True)
        time.sleep(rng.uniform(0, usual_s))
        os.kill(process, signal.SIGKILL)
        code = _end(process)
        if code not in (0, -signal.SIGKILL):
            found.problems.append(f"{out}: a migration ended with {code} before it was killed")
        if (out / METADATA_LOCATION).exists():
            found.num_after += 1
            return
        is_begun = any(path.is_file() for path in out.rglob("*"))
        found.num_kills += is_begun
        found.num_before += not is_begun
    found.num_resumed += sum(1 for path in out.rglob("[0-9]*.json"))
    if (code := _end(_start(plan, out, resume=True))) != 0:
        found.problems.append(f"{out}: the resumed migration ended with {code}")


def _start(plan: MigrationPlan, out: Path, *, resume: bool) -> int:
    """Apply the plan in a process of its own; its number."""
    process = os.fork()
    if process:
        return process
    try:
        plan.apply(str(out), resume=resume)
        os._exit(0)
    finally:
        os._exit(1)


def _end(process: int) -> int:
    """How a process ended: its exit code, or the signal that killed it as a negative number."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise RuntimeError("a migration hangs")


def _files(root: Path) -> dict[str, bytes]:
    """The metadata and all objects; not claims and the sidecar, which hold times and numbers of attempts."""
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith(".json")}


def _differences(out: Path, expected: dict[str, bytes]) -> Iterator[str]:
    found = _files(out)
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            state = "missing" if name not in found else "left over" if name not in expected else "different"
            yield f"{out}: {name} is {state}"
    for finding in open_snapshot(str(out)).findings:
        yield f"{out}: {finding}"

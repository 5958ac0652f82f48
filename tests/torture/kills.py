"""kill -9 at random moments of the writing."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tests.torture.children import Child, in_child, start
from tests.torture.tally import LossError, Tally
from tests.torture.world import OPERATIONS, Operation, digest, make_world, run

__all__ = ["kill_writers"]

NUM_ROWS = 40_000
"""Of each table: 2.5 MB."""


def kill_writers(directory: Path, share: float, seed: int) -> list[Tally]:
    """Kill every operation that writes, 60 times each at a share of one."""
    world = directory / "kills"
    world.mkdir()
    in_child(lambda: make_world(world, NUM_ROWS) and None)
    return [_kill(name, operation, world, max(1, round(60 * share)), seed) for name, operation in OPERATIONS.items()]


def _kill(name: str, operation: Operation, world: Path, num_trials: int, seed: int) -> Tally:
    tally, before = Tally(f"kill -9 while {name} writes"), digest(world)
    _undisturbed(operation, world)  # fills caches
    expected, window_s = _undisturbed(operation, world)
    for number in range(num_trials):
        moment_s = random.Random(f"{seed} {name} {number}").uniform(0, 0.8 * window_s)
        out = world.parent / "killed" / f"{name}-{number}"
        out.parent.mkdir(exist_ok=True)
        try:
            tally.outcomes[_trial(operation, world, out / "out", moment_s, expected)] += 1
            if digest(world) != before:
                raise LossError("the source changed")
        except Exception as error:
            tally.losses.append(f"kill {number} after {moment_s:.4f} s: {error}")
        shutil.rmtree(out.parent)
    return tally


@dataclass
class _Writing:
    child: Child
    began_s: float


def _begin(operation: Operation, world: Path, out: Path) -> _Writing:
    """Start it, and return as soon as something is at its destination."""
    out.parent.mkdir(parents=True)
    child = start(lambda: run(operation, str(world), str(out)))
    while not any(out.parent.iterdir()) and _is_running(child):
        time.sleep(0.0005)
    return _Writing(child, time.monotonic())


def _undisturbed(operation: Operation, world: Path) -> tuple[str, float]:
    """What it makes, and for how long there is something at its destination while it is at work."""
    out = world.parent / "undisturbed" / "out"
    writing = _begin(operation, world, out)
    ran = writing.child.wait()
    window_s = time.monotonic() - writing.began_s
    content = in_child(lambda: operation.content(str(out)))
    shutil.rmtree(out.parent)
    if ran.exit_code != 0 or content is None:
        raise RuntimeError(f"{operation.arguments} does not run: {ran.stderr}")
    return content, window_s


def _trial(operation: Operation, world: Path, out: Path, moment_s: float, expected: str) -> str:
    writing = _begin(operation, world, out)
    time.sleep(moment_s)
    writing.child.kill()
    was_killed = writing.child.wait() is None
    found = in_child(lambda: operation.content(str(out)))
    if found not in (None, expected):
        raise LossError("what is at the destination is neither nothing nor the whole")
    again = in_child(lambda: run(operation, str(world), str(out)))
    if again.exit_code not in (operation.again if found else (0,)):
        raise LossError(f"the next run ends with {again.exit_code}: {again.stderr}")
    if in_child(lambda: operation.content(str(out))) != expected:
        raise LossError("the next run makes something else")
    if not was_killed:
        return "done before the kill"
    return "absent and repeated" if found is None else "committed and whole"


def _is_running(child: Child) -> bool:
    """Whether it has not ended yet; a process that has is a zombie until it is waited for."""
    try:
        return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

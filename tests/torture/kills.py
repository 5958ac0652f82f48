"""kill -9 at random moments of the writing.

A process dies before or a little after one of the calls by which it changes files, drawn evenly from those that it
makes from the first file at its destination to its end: a clock would find most of them done, or not begun.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embsnap.formats.torchsnapshot import layout
from tests.torture.children import Ran, in_child, run_command
from tests.torture.moments import Moment, count_calls, signal_at
from tests.torture.tally import LossError, Tally
from tests.torture.world import OPERATIONS, Operation, digest, make_world, run, warm_up

__all__ = ["NUM_ROWS", "counted", "kill_writers", "random_moment", "run_to", "small_objects"]

NUM_ROWS = 40_000
"""Of each table: 2.5 MB."""
_OBJECT_BYTES = 64 << 10
"""So that an operation writes some forty objects for each."""
_MOST_KILLS = 5
"""Of one migration, before it is let go on to its end."""
_LEAST_RESUMED = 3
_RESUMED = Operation(f"{OPERATIONS['migrate'].arguments} --resume", True)


def kill_writers(directory: Path, share: float, seed: int) -> list[Tally]:
    """At a share of one: 60 kills of every operation that writes, and 60 migrations that go on after up to 5 kills."""
    world = directory / "kills"
    world.mkdir()
    num_trials = max(1, round(60 * share))
    with small_objects():
        make_world(world, NUM_ROWS)
        contents = warm_up(world)
        killed = [_kill(name, world, num_trials, seed, contents[name]) for name in OPERATIONS]
        return [*killed, _kill_and_resume(world, max(_LEAST_RESUMED, num_trials), seed)]


@contextmanager
def small_objects() -> Iterator[None]:
    """Many objects where there would be one or two."""
    known = layout.PIECE_BYTES, layout.OBJECT_BYTES
    layout.PIECE_BYTES = layout.OBJECT_BYTES = _OBJECT_BYTES
    try:
        yield
    finally:
        layout.PIECE_BYTES, layout.OBJECT_BYTES = known


def _kill(name: str, world: Path, num_trials: int, seed: int, expected: str) -> Tally:
    tally, before, operation = Tally(f"kill -9 while {name} writes"), digest(world), OPERATIONS[name]
    num_calls, window_s = in_child(lambda: counted(operation, world))
    for number in range(num_trials):
        moment = random_moment(random.Random(f"{seed} {name} {number}"), num_calls, window_s)
        out = world.parent / "killed" / f"{name}-{number}" / "out"
        out.parent.mkdir(parents=True)
        try:
            tally.outcomes[_trial(operation, world, out, moment, expected)] += 1
            if digest(world) != before:
                raise LossError("the source changed")
        except Exception as error:
            tally.losses.append(f"{number}, killed at {moment}: {error}")
        shutil.rmtree(out.parent.parent)
    return tally


def counted(operation: Operation, world: Path) -> tuple[int, float]:
    """Calls that change files from the first at the destination on, and seconds between the first and the last."""
    out = world.parent / "counted"
    calls = count_calls(str(out))
    run(operation, str(world), str(out))
    found = calls.count, time.monotonic() - calls.begun_s
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    return found


def random_moment(draw: random.Random, num_calls: int, window_s: float) -> Moment:
    """Before one of the calls, or in the time that two of them take from it on."""
    return Moment(draw.randint(1, num_calls), draw.choice((0.0, draw.uniform(0, 2 * window_s / num_calls))))


def run_to(moment: Moment, operation: Operation, world: Path, out: Path) -> Ran | None:
    """Run it in a child that gets the signal then; None if it was killed."""

    def work() -> Ran | None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what a command that has ended puts back
        signal_at(str(out), moment)
        ran: Ran | None = None
        try:
            ran = run(operation, str(world), str(out))
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt:
            if ran is None:
                raise
        return ran

    ran: Ran | None = in_child(work)
    return ran


def _trial(operation: Operation, world: Path, out: Path, moment: Moment, expected: str) -> str:
    was_killed = run_to(moment, operation, world, out) is None
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


def _kill_and_resume(world: Path, num_trials: int, seed: int) -> Tally:
    tally = Tally("migrate --resume after kill -9, up to five times")
    out = world.parent / "resumed" / "out"
    in_child(lambda: run(_RESUMED, str(world), str(out)))
    expected = _files(out)
    num_calls, window_s = in_child(lambda: counted(_RESUMED, world))
    for number in range(num_trials):
        shutil.rmtree(out.parent)
        out.parent.mkdir()
        draw = random.Random(f"{seed} resume {number}")
        # Each goes on where the last was killed, and is to be killed before the end too.
        moments = [random_moment(draw, num_calls // 3, window_s / 3) for _ in range(draw.randint(1, _MOST_KILLS))]
        try:
            tally.outcomes[_resumed(world, out, moments, expected)] += 1
        except Exception as error:
            tally.losses.append(f"{number}, killed at {moments}: {error}")
    return tally


def _resumed(world: Path, out: Path, moments: list[Moment], expected: dict[str, bytes]) -> str:
    """Kill a migration at one moment after the other, let it go on each time, and in the end to its end."""
    for moment in moments:
        ran = run_to(moment, _RESUMED, world, out)
        if ran is not None and ran.exit_code != 0 and not _is_committed(out):
            raise LossError(f"it ends with {ran.exit_code} before it was killed: {ran.stderr}")
        if _is_committed(out):
            return _same(out, expected, "committed before the last kill, and whole")
    num_finished = len(list(out.rglob("[0-9]*.json")))
    ran = in_child(lambda: run(_RESUMED, str(world), str(out)))
    if ran.exit_code != 0:
        raise LossError(f"the resumed migration ends with {ran.exit_code}: {ran.stderr}")
    return _same(out, expected, f"ended with {'objects of the killed' if num_finished else 'none of their objects'}")


def _same(out: Path, expected: dict[str, bytes], outcome: str) -> str:
    """Whether nothing but what an undisturbed migration writes is there, once `gc` has removed temporary files."""
    in_child(lambda: run_command(["gc", str(out), "--older-than", "0", "--apply"]))
    found = _files(out)
    different = [name for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)]
    if different:
        raise LossError(f"these are missing, left over or different: {different[:5]}")
    return outcome


def _is_committed(out: Path) -> bool:
    return (out / ".snapshot_metadata").exists()


def _files(root: Path) -> dict[str, bytes]:
    """The metadata and all objects; not claims and the sidecar, which hold times and numbers of attempts."""
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith(".json")}

"""SIGINT and SIGTERM at random moments of the writing: nothing is left but what a copy has finished."""

from __future__ import annotations

import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path

from tests.torture.children import in_child
from tests.torture.kills import NUM_ROWS, counted, random_moment, run_to, small_objects
from tests.torture.moments import Moment
from tests.torture.tally import LossError, Tally
from tests.torture.world import OPERATIONS, Operation, make_world, run, warm_up

__all__ = ["interrupt_writers"]

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
_KEEPS = "copy"
"""Goes on where it was stopped, so that it leaves what it has finished."""
_HAS_NO_HANDLER = ("save", signal.SIGTERM)
"""A library leaves SIGTERM to the program that calls it."""


def interrupt_writers(directory: Path, share: float, seed: int) -> list[Tally]:
    """60 of each signal at a share of one; the operations take turns."""
    world = directory / "interruptions"
    world.mkdir()
    tallies = []
    with small_objects():
        make_world(world, NUM_ROWS)
        contents = warm_up(world)
        windows = {name: in_child(lambda each=each: counted(each, world)) for name, each in OPERATIONS.items()}
        for number, _ in _EXIT_CODES.items():
            tally = Tally(f"{number.name} while an operation writes")
            names = [name for name in OPERATIONS if (name, number) != _HAS_NO_HANDLER]
            for trial in range(max(1, round(60 * share))):
                name = names[(trial + seed) % len(names)]
                drawn = random_moment(random.Random(f"{seed} {number.name} {trial}"), *windows[name])
                out = world.parent / "interrupted" / "out"
                out.parent.mkdir()
                try:
                    tally.outcomes[_trial(name, world, out, replace(drawn, number=number), contents[name])] += 1
                except Exception as error:
                    tally.losses.append(f"{name} {trial}, {drawn}: {error}")
                shutil.rmtree(out.parent)
            tallies.append(tally)
    return tallies


def _trial(name: str, world: Path, out: Path, moment: Moment, expected: str) -> str:
    operation: Operation = OPERATIONS[name]
    ran = run_to(moment, operation, world, out)
    found = in_child(lambda: operation.content(str(out)))
    if ran is None or ran.exit_code not in (0, _EXIT_CODES[signal.Signals(moment.number)]):
        raise LossError(f"it ends with {ran}")
    if found not in (None, expected) or (ran.exit_code == 0) > (found is not None):
        raise LossError("what is at the destination is neither nothing nor the whole")
    left = [path for path in out.rglob("*") if path.is_file()]
    if found is None and left and name != _KEEPS:
        raise LossError(f"these are left: {left[:5]}")
    again = in_child(lambda: run(operation, str(world), str(out)))
    if again.exit_code not in (operation.again if found else (0,)):
        raise LossError(f"the next run ends with {again.exit_code}: {again.stderr}")
    if ran.exit_code == 0:
        return "done before the signal"
    if found is not None:
        return "committed and whole"
    return "absent, with what a copy goes on from" if left else "absent, and nothing left"

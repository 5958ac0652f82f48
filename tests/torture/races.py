"""Readers while a writer commits, and two writers to one destination."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from embsnap.errors import EmbsnapError
from tests.torture.children import in_child, start
from tests.torture.tally import LossError, Tally
from tests.torture.world import OPERATIONS, Operation, digest, make_world, run, warm_up

__all__ = ["race"]

_NUM_READERS = 2
_READ_FOR_S = 20


def race(directory: Path, share: float, seed: int) -> list[Tally]:
    """100 rounds of each kind at a share of one; the operations take turns."""
    world = directory / "races"
    world.mkdir()
    make_world(world, 4000)
    warm_up(world)
    before = digest(world)
    readers, writers = Tally("readers while a writer commits"), Tally("two writers to one destination")
    for number in range(max(1, round(100 * share))):
        name = list(OPERATIONS)[(number + seed) % len(OPERATIONS)]
        draw = random.Random(f"{seed} {number}")
        for tally, trial in ((readers, _read_while_it_commits), (writers, _write_twice)):
            out = directory / "raced" / "out"
            out.parent.mkdir()
            try:
                tally.outcomes[trial(OPERATIONS[name], world, out, draw)] += 1
                if digest(world) != before:
                    raise LossError("the source changed")
            except Exception as error:
                tally.losses.append(f"{name} {number}: {error}")
            shutil.rmtree(out.parent)
    return [readers, writers]


def _read_while_it_commits(operation: Operation, world: Path, out: Path, draw: random.Random) -> str:
    done = out.parent / "done"
    readers = [start(lambda: _seen(operation, out, done)) for _ in range(_NUM_READERS)]
    time.sleep(draw.uniform(0, 0.05))
    ran = in_child(lambda: run(operation, str(world), str(out)))
    done.touch()
    if ran.exit_code != 0:
        for reader in readers:
            reader.wait()
        raise LossError(f"the writer ends with {ran.exit_code}: {ran.stderr}")
    whole = in_child(lambda: operation.content(str(out)))
    for reader in readers:
        seen = reader.wait()
        if seen not in ([None, whole], [whole]):
            raise LossError(f"a reader saw {seen} where {whole} was written")
    return "rounds in which readers saw nothing, then the whole"


def _seen(operation: Operation, out: Path, done: Path) -> list[str | None]:
    """What a reader finds, over and over, until it has looked once after the writer was done; repetitions left out."""
    seen: list[str | None] = []
    stop_s = time.monotonic() + _READ_FOR_S
    is_last = False
    while not is_last and time.monotonic() < stop_s:
        is_last = done.exists()
        try:
            found = operation.content(str(out))
        except EmbsnapError as error:
            found = str(error)
        if seen[-1:] != [found]:
            seen.append(found)
    return seen


def _write_twice(operation: Operation, world: Path, out: Path, draw: random.Random) -> str:
    first = start(lambda: run(operation, str(world), str(out)))
    time.sleep(draw.uniform(0, 0.1))
    second = start(lambda: run(operation, str(world), str(out)))
    ran = [first.wait(), second.wait()]
    codes = sorted(each.exit_code for each in ran)
    if codes[0] != 0 or codes[1] not in (*operation.again, 7):
        raise LossError(f"the writers end with {codes}: {' '.join(each.stderr for each in ran)}")
    content = in_child(lambda: operation.content(str(out)))
    alone = out.with_name("alone")
    in_child(lambda: run(operation, str(world), str(alone)))
    if content is None or content != in_child(lambda: operation.content(str(alone))):
        raise LossError("the destination is not what one writer makes")
    return "rounds with one winner" if codes[1] == 7 else "rounds in which the second found all done"

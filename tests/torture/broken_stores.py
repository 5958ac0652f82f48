"""Faults of a store, at a random one of the calls that an operation makes.

Sources and destination are given as `faulty://…`: directories behind a store that fails once, or from then on.
Such a store maps nothing: everything goes by its methods, as on a remote storage.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from embsnap.storage import uri as uris
from embsnap.storage.local import LocalStore
from embsnap.testing.faults import (
    Action,
    Fault,
    FaultStore,
    disk_full,
    input_output_error,
    short_read,
)
from embsnap.testing.faults import (
    Operation as Call,
)
from tests.torture.children import Ran, in_child
from tests.torture.tally import LossError, Tally
from tests.torture.world import OPERATIONS, Operation, digest, make_world, run, warm_up

__all__ = ["break_stores"]

_READS: tuple[Call, ...] = ("stat", "read", "read_ranges", "list")
_WRITES: tuple[Call, ...] = ("create", "write", "close", "delete")
_STALL_S = 0.2


@dataclass
class _Moment:
    """Counts the calls of a command, and harms one of them, or one and all after it."""

    call: Call | None = None
    number: int = 0
    is_lasting: bool = False
    action: Action | None = None
    when: str = "before"
    counts: Counter[str] = field(default_factory=Counter)
    met: list[str] = field(default_factory=list)
    """Locations of the calls that were harmed."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def faults(self, root: Path) -> list[Fault]:
        """One for each method and side, all of which come back to here."""
        calls = (*_READS, *_WRITES)
        return [Fault(call, self._passing(call, root)) for call in calls] + [
            Fault(call, self._passing(f"{call} after", root), when="after") for call in calls
        ]

    def _passing(self, call: str, root: Path) -> Action:
        def action(location: str) -> None:
            with self._lock:
                number = self.counts[call]
                self.counts[call] += 1
            wanted = self.call if self.when == "before" else f"{self.call} after"
            if call != wanted or number < self.number or (number > self.number and not self.is_lasting):
                return
            self.met.append(location)
            assert self.action is not None
            self.action(f"{root}/{location}".rstrip("/"))

        return action


def _stall(path: str) -> None:
    time.sleep(_STALL_S)


def _cut_off(path: str) -> None:
    """The object gets shorter while it is read."""
    if os.path.isfile(path):
        os.truncate(path, os.path.getsize(path) // 2)


def _vanish(path: str) -> None:
    """The object is gone."""
    if os.path.isfile(path):
        os.unlink(path)


_KINDS: Mapping[str, tuple[tuple[Call, ...], Action, str]] = {
    "EIO": ((*_READS, *_WRITES), input_output_error, "before"),
    "EIO after it was done": (("create", "close", "delete"), input_output_error, "after"),
    "ENOSPC": (("create", "write", "close"), disk_full, "before"),
    "short read": (("read", "read_ranges"), short_read, "before"),
    "stall": ((*_READS, *_WRITES), _stall, "before"),
    "wrong length": (("read", "read_ranges"), _cut_off, "before"),
    "vanished object": (("read", "read_ranges"), _vanish, "before"),
}
"""What happens → to which calls, how, and on which side of them."""


def break_stores(directory: Path, share: float, seed: int) -> list[Tally]:
    """300 trials of every kind of fault at a share of one; the operations take turns."""
    world = directory / "stores"
    (world / "w").mkdir(parents=True)
    make_world(world / "w", 2000)
    warm_up(world / "w")
    tallies = {kind: Tally(f"{kind}, at a random call of an operation") for kind in _KINDS}
    undisturbed = {name: in_child(partial(_counted, each, world)) for name, each in OPERATIONS.items()}
    for kind, tally in tallies.items():
        for number in range(max(1, round(300 * share))):
            draw = random.Random(f"{seed} {kind} {number}")
            name = draw.choice([each for each in OPERATIONS if any(map(undisturbed[each][0].get, _KINDS[kind][0]))])
            counts, expected = undisturbed[name]
            moment = _moment(kind, counts, draw)
            try:
                tally.outcomes[_trial(OPERATIONS[name], world, directory / "broken", moment, expected)] += 1
            except Exception as error:
                tally.losses.append(f"{name} {number}, {moment.call} {moment.number}: {error}")
    return list(tallies.values())


def _moment(kind: str, counts: Mapping[str, int], draw: random.Random) -> _Moment:
    calls, action, when = _KINDS[kind]
    call = draw.choice([call for call in calls if counts.get(call)])
    is_lasting = action in (input_output_error, disk_full) and draw.random() < 0.5
    return _Moment(call, draw.randrange(counts[call]), is_lasting, action, when)


def _counted(operation: Operation, world: Path) -> tuple[Mapping[str, int], str]:
    moment = _Moment()
    ran = _run_faulty(operation, world, moment)
    content = operation.content(str(world / "out"))
    shutil.rmtree(world / "out", ignore_errors=True)
    (world / "out").unlink(missing_ok=True)
    if ran.exit_code != 0 or content is None:
        raise RuntimeError(f"{operation.arguments} does not run: {ran.stderr}")
    return moment.counts, content


def _run_faulty(operation: Operation, root: Path, moment: _Moment) -> Ran:
    """Do it in this process, which from then on knows `faulty://`."""

    def opened(uri: str, options: Mapping[str, str]) -> FaultStore:
        path = root / uri.removeprefix("faulty://")
        store = FaultStore(LocalStore(str(path)), *moment.faults(path))
        store.uri = uri
        return store

    globals()["opened"] = opened
    uris._REMOTE["faulty"] = (__name__, "opened")
    return run(operation, "faulty://w", "faulty://out")


def _trial(operation: Operation, world: Path, copy: Path, moment: _Moment, expected: str) -> str:
    shutil.copytree(world, copy)
    try:
        before = digest(copy / "w")
        ran, met = in_child(lambda: (_run_faulty(operation, copy, moment), moment.met))
        harms_source = moment.action in (_cut_off, _vanish)
        if digest(copy / "w") != before and not harms_source:
            raise LossError("the source changed")
        if not met:
            return "not met"
        return _judged(operation, copy, ran, met, moment, expected, lambda: shutil.rmtree(copy / "w"))
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _judged(
    operation: Operation,
    copy: Path,
    ran: Ran,
    met: list[str],
    moment: _Moment,
    expected: str,
    renew: Callable[[], None],
) -> str:
    out = str(copy / "out")
    found = in_child(lambda: operation.content(out))
    if found not in (None, expected):
        raise LossError("what is at the destination is neither nothing nor the whole")
    if ran.exit_code == 0:
        if found is None:
            raise LossError("it ends with 0 and nothing is there")
        return "made good, or harmless"
    if ran.exit_code == 70 or ran.exit_code < 0:
        raise LossError(f"it ends with {ran.exit_code}: {ran.stderr}")
    if not any(_names(ran.stderr, location, copy) for location in met):
        raise LossError(f"the message names none of {sorted(set(met))}: {ran.stderr}")
    renew()
    shutil.copytree(copy.parent / "stores" / "w", copy / "w")
    again = in_child(lambda: run(operation, str(copy / "w"), out))
    if again.exit_code not in (operation.again if found else (0,)):
        raise LossError(f"the next run ends with {again.exit_code}: {again.stderr}")
    if in_child(lambda: operation.content(out)) != expected:
        raise LossError("the next run makes something else")
    return "refused with the object's name, then absent" if found is None else "refused with its name, though committed"


def _names(message: str, location: str, copy: Path) -> bool:
    """Whether a message names an object, or the directory of a listing or of a snapshot's metadata."""
    of_a_root = location in ("", ".snapshot_metadata") and ("faulty://" in message or str(copy) in message)
    return of_a_root or (location != "" and location.rsplit("/", 1)[-1] in message)

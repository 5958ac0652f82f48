"""Answers that are wrong and look right: a flipped bit in a body, and listings of another time.

A listing that leaves out an object may be of what people put there: then nobody can tell, and what is made is what the
listing says. One flipped bit in a vocabulary or in events is not found either, since no one keeps sums of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import embsnap.storage.gcs  # noqa: F401 - so that the children have it loaded
from tests.servers.exchange import Exchange
from tests.servers.fault_proxy import Fault
from tests.servers.faults import Action
from tests.servers.gcs import Bucket, gcs_server, temporary_bucket
from tests.torture import broken_connections as behind_proxy
from tests.torture.children import Ran, in_child
from tests.torture.tally import LossError, Tally
from tests.torture.world import OPERATIONS, Operation, make_world, warm_up

__all__ = ["lie"]

_Items = list[dict[str, Any]]


@dataclass(frozen=True)
class _Lie:
    """Which answers, and what is done to them by a random number from [0, 1)."""

    path: str
    action: Callable[[float], Action]
    is_of_destination: bool = False
    """All listings of a destination that is taken, instead of one answer."""


def _flipped(share: float) -> Action:
    def action(exchange: Exchange) -> None:
        reply = exchange.forward()
        body = bytearray(reply.body)
        if body:
            body[int(share * len(body))] ^= 1 << int(share * 1000) % 8
        exchange.answer(reply.with_body(bytes(body)))

    return action


def _listing(edit: Callable[[_Items], _Items]) -> Action:
    def action(exchange: Exchange) -> None:
        reply = exchange.forward()
        answer = json.loads(reply.body)
        answer["items"] = edit(answer.get("items", []))
        exchange.answer(reply.with_body(json.dumps({**answer, "prefixes": []}).encode()))

    return action


def _left_out(share: float) -> Action:
    return _listing(lambda items: [item for i, item in enumerate(items) if i != int(share * len(items))])


def _gone(share: float) -> Action:
    def edit(items: _Items) -> _Items:
        item = items[int(share * len(items))] if items else None
        return items if item is None else [*items, {**item, "name": f"{item['name']}-gone.parquet"}]

    return _listing(edit)


_LISTING = r"/o\?.*prefix="
_LIES: Mapping[str, _Lie] = {
    "one flipped bit in transit": _Lie("alt=media", _flipped),
    "a listing that leaves out an object": _Lie(_LISTING, _left_out),
    "a listing with an object that is gone": _Lie(_LISTING, _gone),
    "empty listings of a taken destination": _Lie(f"{_LISTING}out/", lambda _: _listing(lambda _: []), True),
}


def lie(directory: Path, share: float, seed: int) -> list[Tally]:
    """100 trials of each kind at a share of one; the operations take turns."""
    world = directory / "lies"
    world.mkdir()
    make_world(world, 1000)
    warm_up(world)
    tallies = {kind: Tally(f"{kind}, at a random request") for kind in _LIES}
    with gcs_server(directory / "gcs.log") as server, temporary_bucket(server) as bucket:
        bucket.upload(world, "w")
        before = _stored(bucket)
        contents = {name: _undisturbed(operation, bucket) for name, operation in OPERATIONS.items()}
        for kind, tally in tallies.items():
            usable = _usable(_LIES[kind], bucket)
            for number in range(max(1, round(100 * share))):
                draw = random.Random(f"{seed} {kind} {number}")
                name = draw.choice(list(usable))
                try:
                    tally.outcomes[_trial(name, _LIES[kind], bucket, draw, usable[name], contents[name])] += 1
                    if _stored(bucket) != before:
                        raise LossError("the source changed")
                except Exception as error:
                    tally.losses.append(f"{name}, {number}: {error}")
                _clear(bucket)
    return list(tallies.values())


_stored, _clear, _content = behind_proxy._stored, behind_proxy._clear, behind_proxy._content
_run_behind_proxy = behind_proxy._run_behind_proxy


def _undisturbed(operation: Operation, bucket: Bucket) -> str:
    in_child(lambda: _run_behind_proxy(operation, bucket, None))
    content: str = in_child(lambda: _content(operation, bucket))
    _clear(bucket)
    return content


def _usable(lie: _Lie, bucket: Bucket) -> dict[str, int]:
    """The operations that make such requests, and how many."""
    found = {}
    for name, operation in OPERATIONS.items():
        truth = Fault(lambda exchange: exchange.answer(exchange.forward()), "GET", lie.path, times=None)
        _, _, met = in_child(partial(_run_behind_proxy, operation, bucket, truth))
        _clear(bucket)
        found[name] = len(met)
    return {name: count for name, count in found.items() if count}


def _trial(name: str, lie: _Lie, bucket: Bucket, draw: random.Random, num_requests: int, expected: str) -> str:
    operation, action = OPERATIONS[name], lie.action(draw.random())
    if lie.is_of_destination:
        in_child(lambda: _run_behind_proxy(operation, bucket, None))
        fault = Fault(action, "GET", lie.path, times=None)
    else:
        fault = Fault(action, "GET", lie.path, skip=draw.randrange(num_requests))
    _, ran, met = in_child(lambda: _run_behind_proxy(operation, bucket, fault))
    found = in_child(lambda: _content(operation, bucket))
    if lie.is_of_destination:
        return _left_alone(operation, ran, found, expected)
    return _judged(ran, found, expected, met)


def _left_alone(operation: Operation, ran: Ran, found: str | None, expected: str) -> str:
    if found != expected or ran.exit_code not in operation.again:
        raise LossError(f"it ends with {ran.exit_code}, and the destination is no longer what it was: {ran.stderr}")
    return "left as it was"


def _judged(ran: Ran, found: str | None, expected: str, met: list[str]) -> str:
    if not met:
        return "not met"
    if ran.exit_code == 70 or (ran.exit_code == 0) != (found is not None):
        raise LossError(f"it ends with {ran.exit_code}: {ran.stderr}")
    if found == expected:
        return "made good, or harmless"
    if found is not None:
        return _undetected(ran, met)
    if not any(behind_proxy._names(ran.stderr, path) for path in met):
        raise LossError(f"the message names none of {met}: {ran.stderr}")
    return "refused with the object's name, then absent"


def _undetected(ran: Ran, met: list[str]) -> str:
    if "without a checksum" in ran.stdout:
        return "in rows that are told to be unchecked"
    people_s = ("/monday", "/tuesday", "/events", "%2Fmonday", "%2Ftuesday", "%2Fevents")
    if any(part in path for path in met for part in people_s):
        return "not detectable: in a vocabulary or events"
    raise LossError(f"nobody tells of the lie about {met}")

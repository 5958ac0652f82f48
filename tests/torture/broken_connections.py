"""Faults of a network, at a random request of an operation: a Cloud Storage server behind a proxy that does harm."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

import embsnap.storage.gcs  # noqa: F401 - so that the children have it loaded
from embsnap.storage import retries
from tests.servers import faults
from tests.servers.exchange import Exchange
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.servers.faults import Action
from tests.servers.gcs import Bucket, gcs_server, temporary_bucket
from tests.torture.children import Ran, in_child
from tests.torture.tally import LossError, Tally
from tests.torture.world import OPERATIONS, Operation, make_world, run, warm_up

__all__ = ["break_connections"]

_KINDS: Mapping[str, Callable[[], Action]] = {
    "429": lambda: faults.status(429),
    "503": lambda: faults.status(503),
    "reset": faults.reset,
    "reset within the body": lambda: faults.truncated(50),
    "lost reply": faults.lost_reply,
    "short body": lambda: faults.short(50),
    "stall": faults.stalled,
}
_REPLACED = "object replaced while it is read"
_TIMEOUT_S = "20"
_PATIENCE = 0.02
"""Share of the timeout after which a silent attempt has failed."""


def break_connections(directory: Path, share: float, seed: int) -> list[Tally]:
    """100 trials of each kind of fault at a share of one; the operations take turns."""
    world = directory / "connections"
    world.mkdir()
    make_world(world, 1000)
    warm_up(world)
    tallies = {kind: Tally(f"{kind}, at a random request") for kind in (*_KINDS, _REPLACED)}
    with gcs_server(directory / "gcs.log") as server, temporary_bucket(server) as bucket:
        bucket.upload(world, "w")
        before = _stored(bucket)
        sizes: dict[str, tuple[int, str]] = {}
        for number in range(max(1, round(100 * share))):
            for kind, tally in tallies.items():
                name = random.Random(f"{seed} {kind} {number}").choice(list(OPERATIONS))
                if name not in sizes:
                    sizes[name] = _undisturbed(OPERATIONS[name], bucket)
                try:
                    tally.outcomes[_trial(name, kind, bucket, f"{seed} {number}", *sizes[name])] += 1
                    if _stored(bucket) != before:
                        raise LossError("the source changed")
                except Exception as error:
                    tally.losses.append(f"{name}, {number}: {error}")
                    bucket.upload(world, "w")
    return list(tallies.values())


def _undisturbed(operation: Operation, bucket: Bucket) -> tuple[int, str]:
    """How many requests it makes, and what it makes."""
    num_requests, ran, _ = in_child(lambda: _run_behind_proxy(operation, bucket, None))
    content = in_child(lambda: _content(operation, bucket))
    _clear(bucket)
    if ran.exit_code != 0 or content is None:
        raise RuntimeError(f"{operation.arguments} does not run: {ran.stderr}")
    return num_requests, content


def _trial(name: str, kind: str, bucket: Bucket, seed: str, num_requests: int, expected: str) -> str:
    operation, draw = OPERATIONS[name], random.Random(f"{seed} {name} {kind}")
    kept: dict[str, bytes] = {}
    if kind == _REPLACED:
        objects = [name for name in bucket.names("w/old/") if "/embsnap/" in name and not name.endswith("run.json")]
        target = draw.choice(objects)
        kept[target] = bucket.get(target)
        fault = Fault(_replacing(bucket, target), method="GET", path=re.escape(target), skip=draw.randrange(3))
    else:
        times = draw.choice((1, 1, 2, None)) if kind in ("429", "503", "reset") else 1
        fault = Fault(_KINDS[kind](), skip=draw.randrange(num_requests), times=times)
    try:
        _, ran, met = in_child(lambda: _run_behind_proxy(operation, bucket, fault))
        found = in_child(lambda: _content(operation, bucket))
        return _judged(ran, found, expected, met)
    finally:
        for target, data in kept.items():
            bucket.put(target, data)
        _clear(bucket)


def _judged(ran: Ran, found: str | None, expected: str, met: list[str]) -> str:
    if found not in (None, expected):
        raise LossError("what is at the destination is neither nothing nor the whole")
    if ran.exit_code == 0:
        if found is None:
            raise LossError("it ends with 0 and nothing is there")
        return "made good" if met else "not met"
    if ran.exit_code == 70 or not met:
        raise LossError(f"it ends with {ran.exit_code}: {ran.stderr}")
    if not any(_names(ran.stderr, path) for path in met):
        raise LossError(f"the message names none of {met}: {ran.stderr}")
    return "refused with the object's name, then absent" if found is None else "refused with its name, though committed"


def _run_behind_proxy(operation: Operation, bucket: Bucket, fault: Fault | None) -> tuple[int, Ran, list[str]]:
    """Requests, how it ended, and the paths that were harmed."""
    retries._SHARE_OF_FIRST_ATTEMPT = _PATIENCE
    with FaultProxy(bucket.server) as proxy:
        if fault is not None:
            proxy.add(fault)
        os.environ["STORAGE_EMULATOR_HOST"] = proxy.url
        timeout = ("--timeout", _TIMEOUT_S if fault is None or fault.times is not None else "3")
        ran = run(operation, bucket.uri("w"), bucket.uri("out/x"), *timeout)
        return len(proxy.log), ran, [request.path for request in proxy.log if request.harmed]


def _content(operation: Operation, bucket: Bucket) -> str | None:
    os.environ["STORAGE_EMULATOR_HOST"] = bucket.endpoint
    return operation.content(bucket.uri("out/x"))


def _replacing(bucket: Bucket, name: str) -> Action:
    """Other bytes of the same length are there by the time that the request arrives."""

    def action(exchange: Exchange) -> None:
        bucket.put(name, bytes(byte ^ 1 for byte in bucket.get(name)))
        exchange.answer(exchange.forward())

    return action


def _stored(bucket: Bucket) -> dict[str, bytes]:
    return {name: bucket.get(name) for name in bucket.names("w/")}


def _clear(bucket: Bucket) -> None:
    for name in bucket.names("out/"):
        bucket.delete(name)


def _names(message: str, path: str) -> bool:
    """Whether a message names the object of a request, or the directory of a listing."""
    path = unquote(path)
    parts = re.search(r"/o/([^?]+)", path) or re.search(r"(?:[?&](?:name|prefix)=)([^&]*)", path)
    name = parts[1].rstrip("/").removesuffix("/.snapshot_metadata").rsplit("/", 1)[-1] if parts else ""
    return name in message

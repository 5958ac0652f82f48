"""Where a snapshot may be written, and the run directory that each attempt claims for its objects.

embsnap/<first 12 hex digits of the plan's digest>-<attempt>/run.json    claims it, create-only
embsnap/<the same>/00000, 00001, ...                                     objects
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import suppress
from itertools import count

from embsnap.errors import EmbsnapError, ErrorKind, RefusedError, UsageError
from embsnap.formats.copy_claim import CLAIM_LOCATION
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.model.findings import Finding, Severity
from embsnap.storage.base import Store

__all__ = [
    "check_destination",
    "claim_run",
    "is_sidecar",
    "leftovers",
    "object_location",
    "run_location",
    "run_of",
    "taken",
]

_RUN_OBJECT = re.compile(r"embsnap/([0-9a-f]{12}-[0-9]+)/(?:run(?:-[0-9]+)?\.json|[0-9]{5,}(?:\.json)?)")
_SIDECAR = re.compile(r"\.embsnap/[0-9a-f]{16}\.json")
_DIGEST = re.compile(r"[0-9a-f]{12,}")


def check_destination(store: Store) -> tuple[Finding, ...]:
    """Refuse a destination that holds a snapshot, or anything that embsnap did not write.

    Returns:
        A note on what runs that did not commit have left there, if any did.

    Raises:
        RefusedError: `destination-taken`.
    """
    if store.stat(METADATA_LOCATION) is not None:
        raise taken(store, "holds a snapshot already")
    num_objects, num_bytes = 0, 0
    for found in store.list():
        if found.location == CLAIM_LOCATION:
            raise taken(store, "holds an unfinished copy, which may go on or be collected by `embsnap gc`")
        if run_of(found.location) is None and not is_sidecar(found.location):
            raise taken(store, f"holds {found.location!r}, which embsnap did not write")
        num_objects, num_bytes = num_objects + 1, num_bytes + found.size
    for found in store.unfinished():
        num_objects, num_bytes = num_objects + 1, num_bytes + found.size
    return leftovers(store, num_objects, num_bytes)


def run_of(location: str) -> str | None:
    """The id of the run whose object or claim lies there, or None for anything else."""
    match = _RUN_OBJECT.fullmatch(location)
    return None if match is None else match[1]


def is_sidecar(location: str) -> bool:
    """Whether a sidecar lies there, of whatever snapshot."""
    return _SIDECAR.fullmatch(location) is not None


def taken(store: Store, problem: str) -> RefusedError:
    """The destination cannot be used."""
    hint = "write to another destination; embsnap overwrites nothing"
    return RefusedError(
        ErrorKind.DESTINATION_TAKEN, problem, where=store.uri, expected="an empty destination", hint=hint
    )


def claim_run(store: Store, plan_digest: str, tool: str) -> str:
    """Claim a run id that no other writer has or had: the lowest free attempt of this plan.

    Raises:
        UsageError: `bad-option`: the digest has no twelve lower-case hex digits.
        RefusedError: `destination-taken`: something that is no run stands in the way.
        StorageError: The destination cannot be written.
    """
    if _DIGEST.fullmatch(plan_digest) is None:
        expected = "at least 12 lower-case hex digits"
        raise UsageError(ErrorKind.BAD_OPTION, "no digest of a plan", expected=expected, found=repr(plan_digest))
    claim = {"schema": "embsnap.run", "version": 1, "plan_digest": plan_digest, "tool": tool}
    claim["token"] = secrets.token_hex(8)  # tells this claim from any other one
    data = json.dumps(claim).encode() + b"\n"
    for attempt in count():
        run_id = f"{plan_digest[:12]}-{attempt}"
        try:
            store.create(run_location(run_id), data)
        except RefusedError:
            if store.stat(run_location(run_id)) is None:
                raise
            continue
        except BaseException:
            _withdraw_claim(store, run_location(run_id), data)
            raise
        return run_id
    raise AssertionError("count() does not end")


def _withdraw_claim(store: Store, location: str, data: bytes) -> None:
    """Delete a claim that was being made, if it was and is ours."""
    with suppress(EmbsnapError):
        if store.stat(location) is not None and store.read(location, limit=len(data)) == data:
            store.delete(location)


def run_location(run_id: str) -> str:
    """Where a run's claim lies."""
    return f"embsnap/{run_id}/run.json"


def object_location(run_id: str, index: int) -> str:
    """Where a run's object lies."""
    return f"embsnap/{run_id}/{index:05}"


def leftovers(store: Store, num_objects: int, num_bytes: int) -> tuple[Finding, ...]:
    """A note on what runs that did not commit have left at a destination, if they left anything."""
    if not num_objects:
        return ()
    message = f"runs that have not committed hold {num_objects} objects of {num_bytes} bytes there"
    remedy = "`embsnap gc` removes what they left, once it is old enough that no run writes there"
    return (Finding(Severity.NOTE, "leftovers", store.uri, message, remedy, num_objects),)

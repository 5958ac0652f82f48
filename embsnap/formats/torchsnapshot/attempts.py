"""Who writes at a destination: attempts of a plan, and who has taken them over.

embsnap/<first 12 hex digits of the plan's digest>-<attempt>/run.json     claims the attempt, create-only
embsnap/<the same>/run-1.json, run-2.json, ...                            each takes it over, create-only
embsnap/<the same>/00000                                                  an object
embsnap/<the same>/00000.json                                             its sums, written once it is durable

Whoever holds the last claim owns the attempt. An owner looks for a later claim before the commit, when every object has
its sums; whoever takes over looks at the objects after the claim. So either the old owner finds the claim and ends, or
the new one finds every object whole and deletes none: a process that only seemed dead does no harm.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import count

from embsnap.errors import RefusedError
from embsnap.formats.torchsnapshot.destination import claim_run, run_location, taken
from embsnap.storage.base import Store

__all__ = ["Attempt", "claim_attempt", "take_over"]

_RUN = re.compile(r"(?P<id>[0-9a-f]{12}-(?P<attempt>[0-9]+))/")
_MAX_CLAIM_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run directory, and our claim on it."""

    store: Store
    run_id: str
    number: int
    """Of the claim: 0 for who began it."""

    @property
    def prefix(self) -> str:
        """Where its objects lie."""
        return f"embsnap/{self.run_id}/"

    def check_owned(self) -> None:
        """Refuse to go on where another process has taken the attempt over.

        Raises:
            RefusedError: `destination-taken`.
        """
        if not self.is_owned():
            raise taken(self.store, "another process has taken this attempt over")

    def is_owned(self) -> bool:
        """Whether nobody has taken it over."""
        own, later = self._claim(self.number), self._claim(self.number + 1)
        return self.store.stat(later) is None and self.store.stat(own) is not None

    def release(self) -> None:
        """Delete the claims, so that nobody takes over what is about to be deleted."""
        for number in range(self.number, -1, -1):
            self.store.delete(self._claim(number))

    def _claim(self, number: int) -> str:
        return run_location(self.run_id) if not number else f"{self.prefix}run-{number}.json"


def claim_attempt(store: Store, plan_digest: str, tool: str) -> Attempt:
    """The lowest free attempt of a plan; errors as those of `claim_run`."""
    return Attempt(store, claim_run(store, plan_digest, tool), 0)


def take_over(store: Store, plan_digest: str, tool: str) -> Attempt | None:
    """The latest attempt of exactly this plan, now ours; None if there is none.

    Raises:
        StorageError: The destination cannot be read or written.
    """
    found = [match for name in store.children("embsnap/") if (match := _RUN.fullmatch(name)) is not None]
    for match in sorted(found, key=lambda match: int(match["attempt"]), reverse=True):
        if match["id"].startswith(plan_digest[:12]) and _is_of(store, match["id"], plan_digest):
            return _claim(store, match["id"], plan_digest, tool)
    return None


def _is_of(store: Store, run_id: str, plan_digest: str) -> bool:
    location = run_location(run_id)
    if store.stat(location) is None:
        return False
    try:
        claim = json.loads(store.read(location, limit=_MAX_CLAIM_BYTES))
    except ValueError:
        return False
    return isinstance(claim, dict) and claim.get("plan_digest") == plan_digest


def _claim(store: Store, run_id: str, plan_digest: str, tool: str) -> Attempt:
    fields = {"schema": "embsnap.run", "version": 1, "plan_digest": plan_digest, "tool": tool}
    data = json.dumps(fields).encode() + b"\n"
    for number in count(1):
        location = f"embsnap/{run_id}/run-{number}.json"
        try:
            store.create(location, data)
        except RefusedError:
            if store.stat(location) is None:
                raise
            continue
        return Attempt(store, run_id, number)
    raise AssertionError("count() does not end")

"""How a snapshot came to be: recorded beside it, and read back.

The sidecar's lineage holds, beside parents, command and digest, the plan (`plan`), what would take it back (`undo`),
and the lineages of the parents (`ancestors`, nearest first), so that the chain outlives the snapshots in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from embsnap.errors import ErrorKind, NotFoundError
from embsnap.formats.sidecar import Lineage
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.model.migration import Ancestor, LineageResult, PlanDocument

__all__ = ["lineage", "records", "replay", "reverse"]


def records(snapshot: Snapshot) -> Iterator[Mapping[str, Any]]:
    """A snapshot's own lineage as plain values, then those of what it was made from, nearest first."""
    found = None if snapshot.sidecar is None else snapshot.sidecar.lineage
    record: dict[str, Any] = {"uri": snapshot.uri, "metadata_sha256": snapshot.metadata_sha256}
    if found is not None:
        parents = [{"uri": parent.uri, "metadata_sha256": parent.metadata_sha256} for parent in found.parents]
        record |= {"command": found.command, "plan_digest": found.plan_digest, "parents": parents}
        record |= {"plan": found.extra["plan"]} if "plan" in found.extra else {}
    yield record
    if found is not None:
        yield from (known for known in found.extra.get("ancestors", ()) if isinstance(known, dict))


def lineage(uri: str, options: Mapping[str, str] | None = None) -> LineageResult:
    """A snapshot and what it was made from, as far as it is recorded; no other snapshot is opened.

    Raises:
        NotFoundError, SnapshotError, StorageError: The snapshot cannot be opened.
    """
    snapshot = open_snapshot(uri, options=options)
    found = list(records(snapshot))
    generations = {snapshot.metadata_sha256: 0}
    chain = []
    for record in found:
        digest = str(record.get("metadata_sha256"))
        generation = generations.get(digest, max(generations.values()) + 1)
        parents = [parent for parent in record.get("parents", ()) if isinstance(parent, dict)]
        for parent in parents:
            generations.setdefault(str(parent.get("metadata_sha256")), generation + 1)
        plan = record.get("plan")
        steps = plan.get("steps", ()) if isinstance(plan, dict) else ()
        kinds = tuple(next(iter(step), "") for step in steps if isinstance(step, dict))
        uris = tuple(str(parent.get("uri")) for parent in parents)
        chain.append(Ancestor(str(record.get("uri")), digest, record.get("command"), kinds, uris, generation))
    known = {ancestor.metadata_sha256 for ancestor in chain}
    for record in found:
        for parent in record.get("parents", ()):
            if isinstance(parent, dict) and parent.get("metadata_sha256") not in known:
                digest = str(parent.get("metadata_sha256"))
                known.add(digest)
                chain.append(Ancestor(str(parent.get("uri")), digest, None, (), (), generations.get(digest, 1)))
    return LineageResult(snapshot.uri, tuple(sorted(chain, key=lambda ancestor: ancestor.generation)))


def replay(uri: str, options: Mapping[str, str] | None = None) -> PlanDocument:
    """The plan that made a snapshot.

    Raises:
        NotFoundError: `no-such-object`: no migration made it.
        SnapshotError, StorageError: The snapshot cannot be opened.
    """
    found = _migrated(uri, options)
    steps = tuple(found.extra["plan"]["steps"])
    remarks = [
        f"step {number} ({step['custom'].get('name')}) is a function of a script: run the script to do it again"
        for number, step in enumerate(steps, 1)
        if "custom" in step
    ]
    return PlanDocument(uri, tuple(parent.uri for parent in found.parents), steps, tuple(remarks))


def reverse(uri: str, options: Mapping[str, str] | None = None) -> PlanDocument:
    """The plan that takes a migration back, as far as there is one; the remarks say what none takes back.

    Raises:
        NotFoundError: `no-such-object`: no migration made it.
        SnapshotError, StorageError: The snapshot cannot be opened.
    """
    found = _migrated(uri, options)
    steps: list[Mapping[str, Any]] = []
    remarks = []
    numbered = list(enumerate(zip(found.extra["plan"]["steps"], found.extra.get("undo", ()), strict=False), 1))
    for number, (step, undo) in reversed(numbered):
        if isinstance(undo, str):
            remarks.append(f"step {number} ({next(iter(step))}) has no inverse: {undo}")
        else:
            steps += undo
    return PlanDocument(uri, tuple(parent.uri for parent in found.parents), tuple(steps), tuple(remarks))


def _migrated(uri: str, options: Mapping[str, str] | None) -> Lineage:
    snapshot = open_snapshot(uri, options=options)
    found = None if snapshot.sidecar is None else snapshot.sidecar.lineage
    plan = None if found is None else found.extra.get("plan")
    if found is None or not isinstance(plan, dict) or not isinstance(plan.get("steps"), list):
        raise NotFoundError(
            ErrorKind.NO_SUCH_OBJECT,
            "no migration is recorded",
            where=snapshot.uri,
            expected="a snapshot that `embsnap migrate` wrote",
            found="no sidecar" if found is None else f"one made by {found.command}",
            hint="`embsnap inspect --lineage` shows what is known of its making",
        )
    return found

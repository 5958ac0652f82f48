"""`verify --repair`: a new snapshot of what is sound, with the damaged objects taken from another copy.

Nothing is repaired by guessing. An object of the donor stands in for a damaged one only if its bytes are known to be
those that were written: it has the sum that the damaged snapshot's sidecar recorded, or the donor is the same snapshot
(the same metadata), with as many bytes as these need. Everything else is refused, with the list of what is damaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import monotonic

from embsnap.errors import ErrorKind, SnapshotError, UsageError
from embsnap.formats.sidecar import ObjectSums, sidecar_of
from embsnap.formats.torchsnapshot.metadata import MAX_METADATA_BYTES, METADATA_LOCATION
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import SILENT, Progress
from embsnap.model.repair import Mended, Repair
from embsnap.model.verification import Level
from embsnap.ops.copy import CopyPlan, write_copy
from embsnap.ops.copy_blocks import Room
from embsnap.ops.copy_destination import check_apart, examine
from embsnap.ops.copy_sources import snapshot_source
from embsnap.ops.verify.checked import Checked
from embsnap.ops.verify.damage import damaged_objects
from embsnap.ops.verify.mended_store import MendedStore
from embsnap.ops.verify.object_sums import object_sums
from embsnap.ops.verify.verify import Inquiry, VerifyOptions, inquire

__all__ = ["RepairOptions", "RepairPlan", "plan_repair", "write_repair"]

_MOST_LISTED = 20
_MANIFEST_LEVELS = (Level.STRUCTURE, Level.GEOMETRY)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairOptions:
    """How to repair."""

    donor: str | None = None
    """URI of another copy of the snapshot, or of one that holds the same objects."""
    threads: int = 2
    storage_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What is taken from where."""

    inquiry: Inquiry
    donor: Snapshot
    mended: tuple[Mended, ...]
    copy: CopyPlan
    seconds: float

    def result(self) -> Repair:
        """What a dry run shows."""
        return Repair(
            uri=self.inquiry.snapshot.uri,
            destination=self.copy.destination_uri,
            donor=self.donor.uri,
            metadata_sha256=self.inquiry.snapshot.metadata_sha256,
            applied=False,
            mended=self.mended,
            copied=self.copy.result().total,
            seconds=self.seconds,
            findings=_findings(self.inquiry, (Level.VALUES,)),
        )


def plan_repair(
    uri: str, destination: str, options: RepairOptions | None = None, *, progress: Progress = SILENT
) -> RepairPlan:
    """Verify a snapshot, and find for every damaged object the bytes that were written. Nothing is written.

    Raises:
        NotFoundError: There is no snapshot, or no donor.
        SnapshotError: `unrepairable`: what is damaged is not in the donor, or it is the manifest that is wrong.
        UsageError: `bad-option`: nothing is damaged.
        RefusedError: `destination-taken`.
        StorageError: The storage failed.
    """
    options, began = options or RepairOptions(), monotonic()
    verifying = VerifyOptions(level=Level.VALUES, threads=options.threads, storage_options=options.storage_options)
    inquiry = inquire(uri, verifying, progress=progress)
    snapshot = inquiry.snapshot
    manifest = [each for each in _findings(inquiry, _MANIFEST_LEVELS) if each.severity is Severity.ERROR]
    if manifest:
        raise _unrepairable(snapshot, {each.place: each.message for each in manifest}, "take another snapshot")
    damaged = damaged_objects(inquiry)
    if not damaged:
        problem, hint = "has no damaged object", "`embsnap copy` copies a snapshot"
        raise UsageError(ErrorKind.BAD_OPTION, problem, where=snapshot.uri, expected="a damaged snapshot", hint=hint)
    if options.donor is None:
        raise _unrepairable(snapshot, damaged, "name another copy of it with --from")
    donor = open_snapshot(options.donor, options=options.storage_options)
    mended = _mend(inquiry, donor, damaged, options.threads)
    store = MendedStore(snapshot.store, donor.store, [each.location for each in mended])
    metadata = snapshot.store.read(METADATA_LOCATION, limit=MAX_METADATA_BYTES)
    source = snapshot_source(Snapshot(store, snapshot.uri, metadata))
    check_apart(source, destination, options.storage_options, options.storage_options)
    there = examine(destination, source, options.storage_options)
    room = Room.of(list(source.sizes.values()), options.threads, is_near=False)
    plan = CopyPlan(source, destination, there, room, monotonic() - began)
    return RepairPlan(inquiry, donor, mended, plan, monotonic() - began)


def write_repair(plan: RepairPlan, *, progress: Progress = SILENT) -> Repair:
    """Write the new snapshot; neither the damaged one nor the donor is touched.

    Raises:
        SnapshotError, RefusedError, StorageError: As for a copy; what was finished stays for the next attempt.
    """
    began = monotonic()
    done = write_copy(plan.copy, progress=progress)
    return replace(plan.result(), applied=True, copied=done.total, seconds=plan.seconds + monotonic() - began)


def _findings(inquiry: Inquiry, levels: tuple[Level, ...]) -> tuple[Finding, ...]:
    results = (inquiry.results[level] for level in levels)
    return tuple(finding for result in results if isinstance(result, Checked) for finding in result.findings)


def _mend(inquiry: Inquiry, donor: Snapshot, damaged: Mapping[str, str], threads: int) -> tuple[Mended, ...]:
    """For every damaged object the donor's, proven."""
    snapshot = inquiry.snapshot
    recorded = snapshot.sidecar.objects if snapshot.sidecar is not None else {}
    is_same = donor.metadata_sha256 == snapshot.metadata_sha256
    if is_same and not recorded and donor.sidecar is not None:
        recorded = donor.sidecar.objects
    computed = object_sums(donor.store, [location for location in damaged if location in recorded], threads=threads)
    needed = inquiry.objects.needed if inquiry.objects is not None else {}
    mended, left = [], {}
    for location, problem in damaged.items():
        proof = _proof(donor, location, recorded.get(location), computed.get(location))
        if proof is None and is_same and location not in recorded:
            proof = _same_snapshot(donor, location, needed.get(location))
        if proof is None:
            left[location] = problem
        else:
            mended.append(Mended(location, problem, f"{donor.uri}/{location}", proof))
    if left:
        raise _unrepairable(snapshot, left, f"{donor.uri} does not have what was written there; name another one")
    return tuple(mended)


def _proof(donor: Snapshot, location: str, recorded: ObjectSums | None, computed: ObjectSums | None) -> str | None:
    if recorded is None or computed is None or (recorded.size, recorded.crc32c) != (computed.size, computed.crc32c):
        return None
    return f"its crc32c is the recorded one, {recorded.crc32c}"


def _same_snapshot(donor: Snapshot, location: str, least_bytes: int | None) -> str | None:
    """Whether the object of a donor with the same metadata is there, and long enough; its sidecar must be readable."""
    if location == sidecar_of(donor.metadata_sha256):
        return "the sidecar of the same metadata" if donor.sidecar is not None else None
    info = donor.store.stat(location)
    is_right = info is not None and least_bytes is not None and info.size >= least_bytes
    return "the donor has the same metadata; no sum was recorded" if is_right else None


def _unrepairable(snapshot: Snapshot, damaged: Mapping[str, str], hint: str) -> SnapshotError:
    listed = [f"{place} ({problem})" for place, problem in list(damaged.items())[:_MOST_LISTED]]
    more = f", and {len(damaged) - len(listed)} more" if len(damaged) > len(listed) else ""
    return SnapshotError(
        ErrorKind.UNREPAIRABLE,
        f"cannot be repaired: {len(damaged)} damaged",
        where=snapshot.uri,
        found=", ".join(listed) + more,
        hint=hint,
    )

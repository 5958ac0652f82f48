"""The metadata and the sidecar: read already, and made for each other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.model.findings import Finding, Severity
from embsnap.ops.verify.checked import Checked

__all__ = ["check_committed"]

_PREFIX = ".embsnap/"
_SIDECAR = re.compile(r"\.embsnap/[0-9a-f]{16}\.json")


def check_committed(snapshot: Snapshot) -> Checked:
    """What opening it found, and whether there are sidecars, but of other metadata only; the directory is listed then.

    Raises:
        StorageError: The storage failed.
    """
    return Checked(1, "metadata files", (*snapshot.sidecar_findings, *_others_sidecars(snapshot)))


def _others_sidecars(snapshot: Snapshot) -> Iterator[Finding]:
    """A byte of the metadata that changed takes the sidecar, which is found by their digest, out of sight."""
    if snapshot.sidecar is not None or snapshot.sidecar_findings:
        return
    found = [each.location for each in snapshot.store.list(_PREFIX) if _SIDECAR.fullmatch(each.location)]
    if found:
        yield Finding(
            Severity.WARNING,
            "sidecar-ignored",
            f"{snapshot.uri}/{found[0]}",
            "the sidecar was written for other metadata: these changed, or another snapshot was written over it",
            remedy="fetch the metadata again; if they are meant to be new ones, delete the sidecar",
            count=len(found),
        )

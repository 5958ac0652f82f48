"""Which objects of a snapshot are not what was written, each with what is wrong."""

from __future__ import annotations

from collections.abc import Mapping

from embsnap.formats.sidecar import sidecar_of
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.ops.verify.verify import Inquiry

__all__ = ["damaged_objects"]


def damaged_objects(inquiry: Inquiry) -> Mapping[str, str]:
    """By location what is wrong with it, in the order of the manifest; the sidecar comes last."""
    snapshot = inquiry.snapshot
    needed = inquiry.objects.needed if inquiry.objects is not None else {}
    found = {location: _problem(inquiry, location, least) for location, least in needed.items()}
    damaged = {location: problem for location, problem in found.items() if problem is not None}
    return damaged | _sidecar_problem(snapshot)


def _problem(inquiry: Inquiry, location: str, least_bytes: int) -> str | None:
    sidecar = inquiry.snapshot.sidecar
    recorded = None if sidecar is None else sidecar.objects.get(location)
    info = None if inquiry.objects is None else inquiry.objects.present.get(location)
    computed = None if inquiry.contents is None else inquiry.contents.sums.get(location)
    if info is None:
        return "missing" if least_bytes or recorded is not None else None
    if info.size < least_bytes or (recorded is not None and info.size != recorded.size):
        return f"has {info.size} bytes, not {least_bytes if recorded is None else recorded.size}"
    if recorded is not None and computed is not None and computed.crc32c != recorded.crc32c:
        return f"has the crc32c {computed.crc32c}, not {recorded.crc32c}"
    return None


def _sidecar_problem(snapshot: Snapshot) -> dict[str, str]:
    if snapshot.sidecar is not None or not snapshot.sidecar_findings:
        return {}
    return {sidecar_of(snapshot.metadata_sha256): snapshot.sidecar_findings[0].message}

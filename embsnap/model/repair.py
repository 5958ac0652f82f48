"""What `verify --repair` reports, planned or done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.copying import CopyTally
from embsnap.model.findings import Finding

__all__ = ["Mended", "Repair"]


@dataclass(frozen=True, slots=True)
class Mended:
    """One damaged object, and where its bytes are taken from."""

    location: str
    problem: str
    source: str
    """URI of the object in the donor."""
    proof: str
    """Why those are its bytes."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A snapshot put together again at a new place."""

    schema: ClassVar[str] = "embsnap.repair"
    schema_version: ClassVar[int] = 1

    uri: str
    destination: str
    donor: str
    metadata_sha256: str
    applied: bool
    """False for a dry run."""
    mended: tuple[Mended, ...]
    copied: CopyTally
    """Everything at the destination, the metadata included."""
    seconds: float
    findings: tuple[Finding, ...]
    """What was found and is no damage of storage: it is in the new snapshot as it was."""

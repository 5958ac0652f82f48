"""What `copy` reports, planned or done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["CopyResult", "CopyTally", "CopyWhat"]


class CopyWhat(StrEnum):
    """What is copied."""

    SNAPSHOT = "snapshot"
    FILES = "files"
    """The parquet files of a vocabulary, from a directory or a glob."""
    FILE = "file"
    """One file, as it is."""


@dataclass(frozen=True, slots=True)
class CopyTally:
    """So many objects, with so many bytes."""

    num_objects: int = 0
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CopyResult:
    """A planned or finished copy."""

    schema: ClassVar[str] = "embsnap.copy"
    schema_version: ClassVar[int] = 1

    what: CopyWhat
    source: str
    destination: str
    applied: bool
    """False for a dry run."""
    total: CopyTally
    """All that belongs to what is copied."""
    checked: CopyTally
    """Of them those whose CRC-32C is known beforehand, from the sidecar or the source's server, and compared."""
    present: CopyTally
    """Of them those that an earlier attempt had copied; in a dry run those of the right size."""
    copied: CopyTally
    """Of them those that this run copied, or has to copy."""
    digest: str
    """SHA-256 of a snapshot's metadata; of the names and sizes of files."""
    peak_memory_bytes: int
    """Of the buffers."""
    seconds: float
    findings: tuple[Finding, ...] = ()
    """What lies beside and is not copied, and what was found at the destination."""

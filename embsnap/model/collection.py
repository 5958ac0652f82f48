"""What `gc` reports, planned or done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["GcResult", "Leftover", "LeftoverKind"]


class LeftoverKind(StrEnum):
    """What left something behind."""

    RUN = "run"
    """A run that wrote a snapshot and did not commit it."""
    COPY = "copy"
    """A copy that did not come to its end."""
    SIDECAR = "sidecar"
    """The sidecar of metadata that are not there."""
    WRITER = "writer"
    """An object that was begun and never closed."""
    UPLOAD = "upload"
    """Parts of an object that were uploaded and never put together."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that no committed snapshot needs."""

    kind: LeftoverKind
    root: str
    """URI it lies under."""
    name: str
    """Id of the run, digest of what was copied, location of a sidecar or of an object."""
    num_objects: int
    num_bytes: int
    age_s: float | None
    """Since its newest object was written; None where the storage does not tell."""
    collected: bool
    """False if it is too young: it is kept."""


@dataclass(frozen=True, slots=True)
class GcResult:
    """A planned or finished collection."""

    schema: ClassVar[str] = "embsnap.gc"
    schema_version: ClassVar[int] = 1

    uri: str
    applied: bool
    """False for a dry run: nothing was deleted."""
    older_than_s: float
    num_roots: int
    """Places looked at: the URI, and the steps of a run."""
    num_snapshots: int
    """Of them those with a committed snapshot, whose objects are kept."""
    leftovers: tuple[Leftover, ...]
    num_objects: int
    """Of those that are collected."""
    num_bytes: int
    """Of those that are collected."""
    findings: tuple[Finding, ...] = ()
    """Steps that were left alone because nobody can tell what they need."""

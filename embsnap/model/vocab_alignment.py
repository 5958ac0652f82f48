"""What `vocab align` shows: where the rows of a new table come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["AlignedVocab", "VocabAlignment"]


@dataclass(frozen=True, slots=True)
class AlignedVocab:
    """One side."""

    uri: str
    fingerprint: str
    num_entities: int
    num_rows: int
    """Of its table."""


@dataclass(frozen=True, slots=True)
class VocabAlignment:
    """A row map, planned or written."""

    schema: ClassVar[str] = "embsnap.vocab_align"
    schema_version: ClassVar[int] = 1

    old: AlignedVocab
    new: AlignedVocab
    num_carried: int
    """Entities on both sides."""
    num_moved: int
    """Those of them whose row is another one."""
    num_new: int
    """Entities only in the new vocabulary."""
    num_dropped: int
    """Entities only in the old one."""
    num_unoccupied: int
    """Rows of the new table that hold no entity."""
    coverage: float
    """Carried entities among the new vocabulary's."""
    weighted_coverage: float | None
    """The same by the new vocabulary's counts; None without."""
    with_ids: bool
    destination: str | None
    """URI of the file; None if nothing was written."""
    findings: tuple[Finding, ...]

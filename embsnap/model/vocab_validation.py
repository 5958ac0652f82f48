"""What `vocab validate` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["Check", "VocabValidation"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked for, or the reason why it was not."""

    name: str
    skipped: str | None = None
    """Why it was not made; None if it was."""


@dataclass(frozen=True, slots=True)
class VocabValidation:
    """All that is wrong with one vocabulary."""

    schema: ClassVar[str] = "embsnap.vocab.validate"
    schema_version: ClassVar[int] = 1

    uri: str
    num_entities: int
    """Records that could be checked."""
    id_types: tuple[str, ...]
    """One, unless files differ."""
    fingerprint: str | None
    """None where not every record could be read."""
    num_embeddings: int | None
    """Rows of the table it was checked against: as given, else as its metadata say."""
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...]
    ok: bool
    """No finding is an error or a warning."""

"""What `projector` writes: a sample of tables for TensorBoard's Embedding Projector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["ProjectedTable", "Projection"]


@dataclass(frozen=True, slots=True)
class ProjectedTable:
    """One table."""

    name: str
    vocab: str | None
    """URI of the vocabulary that names the points; None if they are named by their rows."""
    num_entities: int
    """That could have been chosen."""
    num_points: int
    """Chosen; once written, without those that are not finite."""
    dim: int
    chosen_by: str
    """`id`, `count` or `random`."""
    tensor_file: str
    """Relative to the destination."""
    metadata_file: str


@dataclass(frozen=True, slots=True)
class Projection:
    """A sample, planned or written."""

    schema: ClassVar[str] = "embsnap.projector"
    schema_version: ClassVar[int] = 1

    uri: str
    tables: tuple[ProjectedTable, ...]
    num_bytes_to_read: int
    num_bytes_to_write: int
    """About; what was written, once it is."""
    destination: str | None
    """None if nothing was written."""
    findings: tuple[Finding, ...]

"""What `vocab convert` shows: which vocabulary was read, and what was written of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["VocabConversion", "VocabFormat"]


class VocabFormat(StrEnum):
    """How a vocabulary is stored."""

    PARQUET = "parquet"
    """As the other commands read and write it."""
    NVTABULAR = "nvtabular"
    """`unique.<column>.parquet` and `meta.<column>.parquet`."""
    TEXT = "text"
    """One id in each line, whose number is the row (TensorFlow)."""
    CSV = "csv"
    TSV = "tsv"
    ZCH = "zch"
    """Managed collision buffers of torchrec in a snapshot; only to read."""


@dataclass(frozen=True, slots=True)
class VocabConversion:
    """A conversion, planned or done."""

    schema: ClassVar[str] = "embsnap.vocab_convert"
    schema_version: ClassVar[int] = 1

    source: str
    source_format: VocabFormat
    target_format: VocabFormat
    destinations: tuple[str, ...]
    """URIs of the files; none if nothing was written."""
    num_entities: int
    id_type: str
    first_row: int
    last_row: int
    has_counts: bool
    fingerprint: str
    reserved: tuple[tuple[int, int], ...]
    """Rows that it declares as reserved, half-open."""
    oov: tuple[int, int] | None
    """Rows that it declares for unknown ids, half-open."""
    findings: tuple[Finding, ...]

"""What a config holds, as plain values for showing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["ConfigSummary", "OldTable", "TableSummary"]


@dataclass(frozen=True, slots=True)
class OldTable:
    """Where the rows of a table come from."""

    table: str
    """Its name in the snapshot."""
    uri: str
    """Of the snapshot."""
    vocab: str | None
    """URI of the vocabulary it was trained with, where the config names one."""
    by_position: bool
    """Row i becomes row i."""
    cast: bool
    """Rows may be converted to another element type."""


@dataclass(frozen=True, slots=True)
class TableSummary:
    """One table of a config.

    Attributes:
        name: Of the table and its feature.
        num_embeddings: Rows.
        embedding_dim: Columns.
        data_type: `fp32`, `fp16` or `bf16`; None where the snapshot decides.
        pooling: `sum` or `mean`.
        optimizer: Algorithm and its parameters in words; None without one.
        optimizer_state: `carry` or `reset`.
        initializer: What fills new rows, in words.
        reserved: Reserved rows and their policy in words; None without any.
        vocab: URI of its vocabulary.
        pretrained: Where its rows come from; None if all are new.
    """

    name: str
    num_embeddings: int
    embedding_dim: int
    data_type: str | None
    pooling: str
    optimizer: str | None
    optimizer_state: str
    initializer: str
    reserved: str | None
    vocab: str | None
    pretrained: OldTable | None


@dataclass(frozen=True, slots=True)
class ConfigSummary:
    """A valid config of large embeddings."""

    schema: ClassVar[str] = "embsnap.config"
    schema_version: ClassVar[int] = 1

    uri: str
    """Of the file."""
    at: str
    """Its place in the file; `.` is the root."""
    tables: tuple[TableSummary, ...]
    tables_to_log: tuple[str, ...]
    """Names of the tables whose mean norm is logged."""
    findings: tuple[Finding, ...]
    """Valid, and still worth a look."""

"""Tables in other systems' files: what `export` writes, and what `import` makes of such files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from embsnap.model.findings import Finding

__all__ = ["ExchangeFormat", "ExportResult", "ExportedTable", "ImportResult", "ImportedTable"]


class ExchangeFormat(StrEnum):
    """How a table stands in a file."""

    PARQUET = "parquet"
    """A column of lists of fixed size, beside columns of ids and rows."""
    ARROW = "arrow"
    """The same as an Arrow IPC file."""
    NPY = "npy"
    """A matrix; ids and rows in files beside it."""
    SAFETENSORS = "safetensors"
    """Tensors `weight`, `rows` and `ids`."""
    CSV = "csv"
    """Columns of ids and rows, and one for each dimension."""
    WORD2VEC = "word2vec"
    """Text: an id and its numbers in each line."""
    WORD2VEC_BINARY = "word2vec-binary"
    """An id, a space and its float32 numbers, one after the other."""

    @property
    def suffix(self) -> str:
        """What names of such files end in."""
        return _SUFFIXES[self][0]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What names of such files may end in."""
        return _SUFFIXES[self]


_SUFFIXES = {
    ExchangeFormat.PARQUET: (".parquet", ".pq"),
    ExchangeFormat.ARROW: (".arrow", ".feather", ".ipc"),
    ExchangeFormat.NPY: (".npy",),
    ExchangeFormat.SAFETENSORS: (".safetensors",),
    ExchangeFormat.CSV: (".csv",),
    ExchangeFormat.WORD2VEC: (".txt", ".vec"),
    ExchangeFormat.WORD2VEC_BINARY: (".bin",),
}


@dataclass(frozen=True, slots=True)
class ExportedTable:
    """One table."""

    name: str
    path: str
    """Logical path of its weight."""
    vocab: str | None
    """URI of the vocabulary that names the rows; None if they are exported by position."""
    num_embeddings: int
    num_entities: int
    """That could have been exported: of the vocabulary, or all rows."""
    num_rows: int
    """Exported."""
    dim: int
    dtype: str
    """Of the table."""
    stored_dtype: str
    """Of the file, in which each value is the same."""
    files: tuple[str, ...]
    """Relative to the destination, or its name where that is one file."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Tables, planned to be written or written."""

    schema: ClassVar[str] = "embsnap.export"
    schema_version: ClassVar[int] = 1

    uri: str
    format: ExchangeFormat
    tables: tuple[ExportedTable, ...]
    where: str | None
    """The condition that entities met."""
    num_bytes_to_read: int
    """Of rows."""
    num_bytes_to_write: int
    """About; what was written, once it is."""
    peak_memory_bytes: int
    """Ids and columns of all entities, and rows in flight."""
    destination: str | None
    """None if nothing was written."""
    num_unchecked_rows: int
    """Rows read without a checksum to compare them with."""
    seconds: float
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ImportedTable:
    """One table."""

    name: str
    path: str
    """Logical path of its weight."""
    source: str
    format: ExchangeFormat
    num_vectors: int
    """In the source."""
    num_embeddings: int
    dim: int
    dtype: str
    id_type: str | None
    """None where the source has no ids, or they are left out."""
    num_drawn: int
    """Rows that the source has no vector for."""
    initializer: str | None
    """What these are drawn from."""
    vocab: str | None
    """URI of the vocabulary that is written."""
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class ImportResult:
    """A snapshot made of other systems' files, planned or written."""

    schema: ClassVar[str] = "embsnap.import"
    schema_version: ClassVar[int] = 1

    tables: tuple[ImportedTable, ...]
    num_bytes_to_write: int
    plan_digest: str
    destination: str | None
    """None if nothing was written."""
    seconds: float
    findings: tuple[Finding, ...]

"""What is exported, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embsnap.formats.vocabulary_columns import VocabularyColumns
from embsnap.model.exchange import ExchangeFormat

__all__ = ["ExportOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Which rows of which tables, in which form."""

    format: ExchangeFormat = ExchangeFormat.PARQUET
    tables: Sequence[str] = ()
    """All tables, if empty."""
    vocab: Mapping[str, str] = field(default_factory=dict)
    """URI of a vocabulary by table. Of other tables the one that the sidecar records."""
    by_position: bool = False
    """Export all rows without ids, whatever vocabulary there is."""
    where: str | None = None
    """SQL expression on the columns of the vocabulary; entities that do not meet it are left out."""
    further_columns: Sequence[str] = ()
    """Of the vocabulary, to be put beside ids and rows."""
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    memory_budget: int | None = None
    """Bytes of row data; a quarter of what is available, if None."""
    threads: int = 1
    storage_options: Mapping[str, str] = field(default_factory=dict)

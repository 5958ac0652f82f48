"""What a reader of such files is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embsnap.formats.exchange.content import TableCard
from embsnap.model.vocabulary import IdType

__all__ = ["ReadOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Where vectors and ids stand, for files that do not say so themselves."""

    vector_column: str | None = None
    """Column or tensor of the vectors; found by its name or its type, if not given."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of ids, rows and counts by role: `id`, `row`, `count`."""
    id_type: IdType | None = None
    """Of ids that stand as text."""
    card: TableCard | None = None
    """What `export.json` says of the table."""
    storage_options: Mapping[str, str] = field(default_factory=dict)

"""What is imported, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embsnap.model.exchange import ExchangeFormat
from embsnap.model.vocabulary import IdType
from embsnap.ops.warmstart.paths import DEFAULT_PREFIX

__all__ = ["ImportOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How files are read, and what becomes of their ids."""

    format: ExchangeFormat | None = None
    """Of all files; told by their names, if None."""
    vocab_out: str | None = None
    """Directory for the vocabularies of files with ids."""
    by_position: bool = False
    """Leave ids out: the vectors alone are imported."""
    compact: bool = False
    """Number the rows in the order of the file, whatever rows it gives."""
    prefix: str | None = None
    """App key and module path of the tables; as the files say, else the usual one, if None."""
    vector_column: str | None = None
    """Column or tensor of the vectors, if it is not to be found by its name."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of ids, rows and counts by role."""
    id_type: IdType | None = None
    """Of ids that stand as text; strings, or what csv tells, if None."""
    threads: int = 1
    storage_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def usual_prefix(self) -> str:
        """For files that do not say where their table was."""
        return self.prefix or DEFAULT_PREFIX

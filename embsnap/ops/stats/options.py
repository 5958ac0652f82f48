"""What is to be computed, and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.vocabulary import VocabularyColumns

__all__ = ["StatsOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsOptions:
    """Of `stats` and `history`.

    Raises:
        UsageError: `bad-option`: a threshold is negative, or a sample has no row.
    """

    tables: Sequence[str] = ()
    """Named as for `Snapshot.table`; none means all."""
    near_zero: float = 1e-4
    """Norm up to which a row counts as near zero."""
    exploded_factor: float = 10.0
    """How many times the 99th percentile a norm is to be above to count as exploded."""
    spectrum: bool = True
    duplicates: bool = True
    updates: bool = True
    """Whether optimizer state is read for never-updated rows."""
    sample_rows: int | None = None
    """Look at so many random rows of a table that has more, and state confidence intervals."""
    seed: int = 0
    """Of the sample."""
    vocabularies: Mapping[str, str] = field(default_factory=dict)
    """URI by table."""
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    threads: int = 1
    memory_budget: int = 1 << 30
    """In bytes, for what grows with the number of rows; beyond it that goes to a temporary file."""
    check: bool = True
    """Whether blocks that are read whole are compared with the sidecar's checksums."""
    storage_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, is_right in (
            ("--near-zero", self.near_zero >= 0),
            ("--exploded", self.exploded_factor > 0),
            ("--sample-rows", self.sample_rows is None or self.sample_rows > 0),
        ):
            if not is_right:
                raise UsageError(ErrorKind.BAD_OPTION, "is out of range", where=name, expected="a number above 0")

    def digest(self) -> str:
        """16 hexadecimal digits for all that changes the numbers of a table: equal options have equal digests."""
        choices = [self.spectrum, self.duplicates, self.updates, self.sample_rows, self.seed]
        told = [self.near_zero, self.exploded_factor, choices, sorted(self.vocabularies.items()), sorted(self.tables)]
        if self.vocabularies and self.columns != VocabularyColumns():  # histories were begun before columns were told
            told.append(asdict(self.columns))
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

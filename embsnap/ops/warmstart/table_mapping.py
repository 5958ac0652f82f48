"""Which old row each row of one new table takes, as a value.

Shape suffixes: V rows of the new table, N entities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.hashing import fingerprint_sums
from embsnap.model.findings import Finding
from embsnap.ops.warmstart.result import Alignment, RowCounts
from embsnap.ops.warmstart.sources import VocabularyRef

__all__ = ["TableMapping"]


@dataclass(frozen=True, slots=True, eq=False)
class TableMapping:
    """Which old row each new row takes, and what the vocabularies said."""

    alignment: Alignment
    counts: RowCounts
    row_V: NDArray[np.int64] | None = None
    """Filled in where this process wants it, if several have mapped the table together; as are the arrays below."""
    new_rows_N: NDArray[np.int64] | None = None
    new_keys_N: NDArray[np.uint64] | None = None
    donor_row_N: NDArray[np.int64] | None = None
    old_rows_N: NDArray[np.int64] | None = None
    donor_row: int | None = None
    coverage: float | None = None
    weighted_coverage: float | None = None
    vocabularies: tuple[VocabularyRef | None, VocabularyRef | None] = (None, None)
    """Old and new."""
    num_entities: int = 0
    """In both vocabularies together, as they were in this process's memory."""
    findings: tuple[Finding, ...] = ()
    row_map: tuple[str, str] | None = None
    """URI of the row map that was given, and a fingerprint of what it says."""
    num_mapped_rows: int | None = None
    """How many of `row_V` are filled in; None for all."""
    donor_sums: tuple[int, int] | None = None
    """`described_donors`, where several processes have added up theirs."""

    @property
    def described_donors(self) -> tuple[int, int] | None:
        """What tells apart which new rows start from which old ones."""
        if self.donor_row_N is None or self.new_rows_N is None or self.donor_sums is not None:
            return self.donor_sums
        return fingerprint_sums(self.new_rows_N, self.donor_row_N)

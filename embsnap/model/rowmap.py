"""The row map: where each row of a new table comes from.

Shape suffixes: V rows of the new table, N new entities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowMap"]


@dataclass(frozen=True, slots=True, eq=False)
class RowMap:
    """New row → old row, and what fills the rows that have none."""

    row_V: NDArray[np.int64]
    """Old row of each new row, or -1."""
    num_old_rows: int
    new_rows_N: NDArray[np.int64]
    """The rows of entities that the old vocabulary does not know, ascending."""
    new_keys_N: NDArray[np.uint64]
    """A 64-bit key of each such entity's id, from which its initial row is drawn."""
    num_carried: int
    """Entities in both vocabularies."""
    num_dropped: int
    """Entities only in the old vocabulary."""
    carried_weight: int | None = None
    """Sum of the counts of carried entities, where the new vocabulary has counts."""
    total_weight: int | None = None
    """Sum of the counts of all entities of the new vocabulary."""

    @property
    def num_rows(self) -> int:
        """V."""
        return len(self.row_V)

    @property
    def num_new(self) -> int:
        """Entities only in the new vocabulary."""
        return len(self.new_rows_N)

    @property
    def num_unoccupied(self) -> int:
        """Rows that hold no entity and are not carried either (gaps and tail)."""
        return self.num_rows - int(np.count_nonzero(self.row_V >= 0)) - self.num_new

    @property
    def coverage(self) -> float | None:
        """carried / (carried + new); None for an empty vocabulary."""
        total = self.num_carried + self.num_new
        return self.num_carried / total if total else None

    @property
    def weighted_coverage(self) -> float | None:
        """The same by count; None without counts."""
        if self.carried_weight is None or not self.total_weight:
            return None
        return self.carried_weight / self.total_weight

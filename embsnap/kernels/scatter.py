"""Old rows put in the places of their new rows, with what cannot be put there.

Shape suffixes: N records of a row map, V rows of the new table, K examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel
from embsnap.kernels.rows import MAX_EXAMPLES

__all__ = ["Scattering"]


class Scattering:
    """A row map being filled, batch by batch.

    Attributes:
        row_V: Old row of each new row, -1 for none; as given at first where no record names the row. Of several
            records for one new row the first stands.
        num_out_of_range: Records whose new row the new table does not have.
        num_old_out_of_range: Records whose old row the old table does not have.
        num_repeated: Records whose new row an earlier record names.
    """

    def __init__(self, num_new_rows: int, num_old_rows: int, unnamed: int) -> None:
        """Room for `num_new_rows` rows, all of them `unnamed`, a negative number other than -1."""
        self.row_V = np.full(num_new_rows, unnamed, np.int64)
        self._num_old_rows, self._unnamed = num_old_rows, unnamed
        self._counts = np.zeros(3, np.int64)
        self._examples_3K = np.full((3, MAX_EXAMPLES), -1, np.int64)

    def put(self, new_rows_N: NDArray[np.int64], old_rows_N: NDArray[np.int64]) -> None:
        """Take over records: `int64[N]` new rows and `int64[N]` old rows, -1 for none."""
        if len(new_rows_N) != len(old_rows_N):
            raise ValueError(f"{len(new_rows_N)} new rows and {len(old_rows_N)} old rows")
        arrays = (frozen(new_rows_N, np.int64), frozen(old_rows_N, np.int64))
        _put(*arrays, self._num_old_rows, self._unnamed, self.row_V, self._counts, self._examples_3K)

    @property
    def num_out_of_range(self) -> int:
        """See the class."""
        return int(self._counts[0])

    @property
    def num_old_out_of_range(self) -> int:
        """See the class."""
        return int(self._counts[1])

    @property
    def num_repeated(self) -> int:
        """See the class."""
        return int(self._counts[2])

    @property
    def out_of_range_examples(self) -> list[int]:
        """The first few such new rows."""
        return self._listed(0)

    @property
    def old_out_of_range_examples(self) -> list[int]:
        """The first few such old rows."""
        return self._listed(1)

    @property
    def repeated_examples(self) -> list[int]:
        """The first few new rows that are named again."""
        return self._listed(2)

    def _listed(self, kind: int) -> list[int]:
        examples: list[int] = self._examples_3K[kind, : min(MAX_EXAMPLES, int(self._counts[kind]))].tolist()
        return examples


@kernel
def _put(
    new_rows_N: Any, old_rows_N: Any, num_old_rows: int, unnamed: int, row_V: Any, counts_3: Any, examples_3K: Any
) -> None:
    for i in range(len(new_rows_N)):
        new_row, old_row = new_rows_N[i], old_rows_N[i]
        kind, example = -1, new_row
        if new_row < 0 or new_row >= len(row_V):
            kind = 0
        elif row_V[new_row] != unnamed:
            kind = 2
        elif old_row < -1 or old_row >= num_old_rows:
            kind, example = 1, old_row
            row_V[new_row] = -1
        else:
            row_V[new_row] = old_row
        if kind >= 0:
            if counts_3[kind] < examples_3K.shape[1]:
                examples_3K[kind, counts_3[kind]] = example
            counts_3[kind] += 1

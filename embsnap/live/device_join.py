"""The id join on a GPU: a sort of either side and a search, with the result of `embsnap.kernels.join`.

Shape suffixes: N ids of one side, U of them without later occurrences, V rows of the new table, M new entities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embsnap.kernels.hashing import id_keys
from embsnap.kernels.join import Duplicates, Joined, join
from embsnap.kernels.rows import MAX_EXAMPLES
from embsnap.model.vocabulary import BytesIds, Ids

__all__ = ["DeviceJoin"]

_BYTES_PER_ID = 64
"""While a side is sorted: ids, rows, the sorted ids, their order, and what sorting takes."""


@dataclass(frozen=True, slots=True)
class DeviceJoin:
    """Joins integer ids on a device where they fit into half of its free memory, and everything else on the CPU."""

    device: torch.device

    def __call__(
        self,
        old_ids: Ids,
        old_rows_N: NDArray[np.int64],
        new_ids: Ids,
        new_rows_N: NDArray[np.int64],
        num_rows: int,
        *,
        counts_N: NDArray[np.int64] | None = None,
        passes: int = 1,
        threads: int = 1,
    ) -> Joined:
        """As `embsnap.kernels.join.join`; rows are taken to be as it wants them (`check_rows`)."""
        if isinstance(old_ids, BytesIds) or isinstance(new_ids, BytesIds) or not self._fits(old_ids, new_ids, num_rows):
            return join(
                old_ids, old_rows_N, new_ids, new_rows_N, num_rows, counts_N=counts_N, passes=passes, threads=threads
            )
        return self._join(old_ids, old_rows_N, new_ids, new_rows_N, num_rows, counts_N, threads)

    def _fits(self, old_ids: Ids, new_ids: Ids, num_rows: int) -> bool:
        if self.device.type != "cuda":
            return True
        num_bytes = _BYTES_PER_ID * (len(old_ids) + len(new_ids)) + 8 * num_rows
        kept = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return num_bytes <= (torch.cuda.mem_get_info(self.device)[0] + kept) // 2

    def _join(
        self,
        old_ids: NDArray[np.int64] | NDArray[np.uint64],
        old_rows_N: NDArray[np.int64],
        new_ids: NDArray[np.int64] | NDArray[np.uint64],
        new_rows_N: NDArray[np.int64],
        num_rows: int,
        counts_N: NDArray[np.int64] | None,
        threads: int,
    ) -> Joined:
        old, new = _Side.of(self._here(old_ids)), _Side.of(self._here(new_ids))
        place_U = torch.searchsorted(old.ids_U, new.ids_U)
        is_carried_U = torch.zeros_like(new.ids_U, dtype=torch.bool)
        if len(old.ids_U):
            place_U.clamp_(max=len(old.ids_U) - 1)
            is_carried_U = old.ids_U[place_U] == new.ids_U
        new_rows = self._here(new_rows_N)
        row_V = torch.full((num_rows,), -1, dtype=torch.int64, device=self.device)
        old_index = old.index_U[place_U[is_carried_U]]
        row_V[new_rows[new.index_U[is_carried_U]]] = self._here(old_rows_N)[old_index]
        rows_M, order_M = new_rows[new.index_U[~is_carried_U]].sort()
        ids_M = new_ids[new.index_U[~is_carried_U][order_M].cpu().numpy()]
        num_carried = int(is_carried_U.sum())
        found_V = row_V.cpu().numpy()
        return Joined(
            row_V=found_V,
            new_rows_N=rows_M.cpu().numpy(),
            new_keys_N=id_keys(ids_M, threads=threads),
            num_carried=num_carried,
            num_dropped=len(old.ids_U) - num_carried,
            carried_weight=None if counts_N is None else int(counts_N[found_V[new_rows_N] >= 0].sum()),
            total_weight=None if counts_N is None else int(counts_N.sum()),
            old_duplicates=old.duplicates,
            new_duplicates=new.duplicates,
        )

    def _here(self, array_N: NDArray[np.int64] | NDArray[np.uint64]) -> Tensor:
        """On the device, as int64; of unsigned ids the same bits, which serve to compare."""
        return torch.from_numpy(np.ascontiguousarray(array_N).view(np.int64)).to(self.device)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """The ids of one side, each once."""

    ids_U: Tensor
    """Ascending."""
    index_U: Tensor
    """Where each occurs first."""
    duplicates: Duplicates

    @classmethod
    def of(cls, ids_N: Tensor) -> _Side:
        sorted_N, order_N = ids_N.sort(stable=True)
        is_first_N = torch.ones_like(sorted_N, dtype=torch.bool)
        is_first_N[1:] = sorted_N[1:] != sorted_N[:-1]
        later = order_N[~is_first_N].sort().values
        duplicates = Duplicates(len(later), tuple(later[:MAX_EXAMPLES].tolist()))
        return cls(sorted_N[is_first_N], order_N[is_first_N], duplicates)

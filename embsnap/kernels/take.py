"""Entity ids in another order.

Shape suffixes: N ids, M of them in hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.compiler import frozen, kernel
from embsnap.model.vocabulary import BytesIds, Ids

__all__ = ["take_ids"]


def take_ids(ids: Ids, indices_M: NDArray[np.int64]) -> Ids:
    """The ids at some indices, in their order.

    Args:
        ids: N ids.
        indices_M: `int64[M]`, each in `[0, N)`.

    Raises:
        IndexError: An index is out of range.
    """
    if len(indices_M) and not 0 <= int(indices_M.min()) <= int(indices_M.max()) < len(ids):
        raise IndexError(f"indices must be in [0, {len(ids)})")
    if not isinstance(ids, BytesIds):
        return ids[indices_M]
    offsets = frozen(ids.offsets, np.int64)
    taken = np.zeros(len(indices_M) + 1, np.int64)
    np.cumsum((offsets[1:] - offsets[:-1])[indices_M], out=taken[1:])
    data = np.empty(int(taken[-1]), np.uint8)
    _copy(offsets, frozen(ids.data, np.uint8), frozen(indices_M, np.int64), taken, data)
    return BytesIds(taken, data)


@kernel
def _copy(offsets: Any, data: Any, indices_M: Any, taken: Any, out: Any) -> None:
    for m in range(len(indices_M)):
        start = offsets[indices_M[m]]
        for i in range(taken[m + 1] - taken[m]):
            out[taken[m] + i] = data[start + i]

"""Finding ids among others, whatever their type, without a Python object for each.

Shape suffix: N ids.
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from embsnap.formats.id_arrays import arrow_ids
from embsnap.formats.parquet import integers_of
from embsnap.model.vocabulary import Ids

__all__ = ["find_ids"]


def find_ids(ids: Ids, among: Ids) -> NDArray[np.int64]:
    """For each of the N ids its first index in `among`, or -1."""
    found = pc.index_in(arrow_ids(ids), value_set=arrow_ids(among))
    return integers_of(found.fill_null(-1)).astype(np.int64)

"""KeyedJaggedTensors from raw entity ids, in the main process or in the workers of a DataLoader.

Shape suffixes: N ids in hand, B bags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from embsnap.errors import ErrorKind, UsageError
from embsnap.ops.vocab_index import Oov, VocabIndex

__all__ = ["keyed_jagged"]


def keyed_jagged(
    features: Mapping[str, tuple[Any, Any]], indexes: Mapping[str, VocabIndex], *, oov: Oov = "error"
) -> KeyedJaggedTensor:
    """Look up the ids of each feature and put their rows into one KeyedJaggedTensor, on the CPU.

    Args:
        features: By name, ids and lengths: N ids as `VocabIndex.lookup` takes them, or as a tensor of int64; and how
            many of them each of B bags has, integers that add up to N. B is the same for all features.
        indexes: An index for each feature, by its name.
        oov: Of unknown ids, as in `VocabIndex.lookup`; with `skip` they are left out and their bags are shorter.

    Returns:
        The features in their order: `values` int64, `lengths` int32.

    Raises:
        NotFoundError: `no-such-entity`: ids are unknown and `oov` is `error`.
        IncompatibleError: `id-type-mismatch` or `null-ids`.
        UsageError: `bad-option`: a feature has no index, or its lengths do not fit its ids or the other features.
    """
    values: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.int64]] = []
    for name, (ids, counts) in features.items():
        if name not in indexes:
            raise _bad(name, "the feature has no index", ", ".join(indexes) or "an index", "none")
        rows_N = indexes[name].lookup(_plain(ids), oov)
        lengths_B = np.asarray(_plain(counts)).astype(np.int64)
        if lengths_B.min(initial=0) < 0 or lengths_B.sum() != len(rows_N):
            raise _bad(name, "lengths do not fit the ids", f"a sum of {len(rows_N)}", str(lengths_B.sum()))
        if lengths and len(lengths_B) != len(lengths[0]):
            raise _bad(name, "has another number of bags", str(len(lengths[0])), str(len(lengths_B)))
        if oov == "skip":
            rows_N, lengths_B = _without_unknown(rows_N, lengths_B)
        values.append(rows_N)
        lengths.append(lengths_B)
    if not values:
        raise UsageError(ErrorKind.BAD_OPTION, "there are no features", where="features", expected="at least one")
    return KeyedJaggedTensor(
        keys=list(features),
        values=torch.from_numpy(np.concatenate(values)),
        lengths=torch.from_numpy(np.concatenate(lengths).astype(np.int32)),
    )


def _plain(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values


def _without_unknown(
    rows_N: NDArray[np.int64], lengths_B: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    known = rows_N >= 0
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
    ends_B = np.cumsum(lengths_B)
    return rows_N[known], before[ends_B] - before[ends_B - lengths_B]


def _bad(name: str, problem: str, expected: str, found: str) -> UsageError:
    return UsageError(ErrorKind.BAD_OPTION, problem, where=f"feature {name}", expected=expected, found=found)

"""Entities of a vocabulary as values for people and for JSON."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from embsnap.model.vocab_inspection import Entity
from embsnap.model.vocabulary import BytesIds, Ids, IdType, Vocabulary

__all__ = ["entities_at", "exact_sum", "id_of", "largest"]


def id_of(ids: Ids, id_type: IdType, index: int) -> int | str:
    """One of some ids: a number, text, or `0x` and hexadecimal digits for binary."""
    if not isinstance(ids, BytesIds):
        return int(ids[index])
    value = ids[index]
    return value.decode("utf-8", "backslashreplace") if id_type is IdType.STRING else f"0x{value.hex()}"


def entities_at(vocabulary: Vocabulary, indices: Iterable[int]) -> tuple[Entity, ...]:
    """The entities at some indices, with their counts where there are any."""
    ids, rows_N, counts_N = vocabulary.ids, vocabulary.rows_N, vocabulary.counts_N
    return tuple(
        Entity(id_of(ids, vocabulary.id_type, i), int(rows_N[i]), None if counts_N is None else int(counts_N[i]))
        for i in indices
    )


def exact_sum(counts_N: NDArray[np.int64]) -> int:
    """The sum of numbers that are not negative, however large it gets."""
    return (int((counts_N >> 32).sum()) << 32) + int((counts_N & 0xFFFFFFFF).sum())


def largest(values_N: NDArray[np.int64], num: int, ties_N: NDArray[np.int64]) -> list[int]:
    """Indices of the `num` largest values, the largest first; equal ones by `ties_N`, ascending."""
    num = min(num, len(values_N))
    if not num:
        return []
    least = np.partition(values_N, len(values_N) - num)[len(values_N) - num]
    above, equal = np.flatnonzero(values_N > least), np.flatnonzero(values_N == least)
    wanted = num - len(above)
    if len(equal) > wanted:
        equal = equal[np.argpartition(ties_N[equal], wanted - 1)[:wanted]]
    chosen = np.concatenate([above, equal])
    order: list[int] = chosen[np.lexsort((ties_N[chosen], -values_N[chosen]))].tolist()
    return order

"""When entities were last seen, in one unit on both sides.

Shape suffixes: N entities.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.counted_ids import CountedIds
from embsnap.model.vocabulary import NEVER_SEEN, Vocabulary

__all__ = ["with_same_times"]

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def with_same_times(old: Vocabulary, new: CountedIds) -> tuple[Vocabulary, CountedIds]:
    """Both sides with their times in the finer of their units; as they are if one has none.

    Raises:
        IncompatibleError: `bad-vocabulary`: integers beside timestamps, only one side is in UTC, or a time does not fit
            in the finer unit.
    """
    if old.last_seen_N is None or new.last_seen_N is None or old.last_seen_type == new.last_seen_type:
        return old, new
    (old_unit, old_zone), (new_unit, new_zone) = _parts(old.last_seen_type), _parts(new.last_seen_type)
    if old_zone != new_zone or old_unit is None or new_unit is None:
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            "the times of the new ids are of another type than the old vocabulary's",
            where=old.uri,
            expected=old.last_seen_type,
            found=new.last_seen_type,
            hint="cast the column of times",
        )
    finest = max(old_unit, new_unit)
    time_type = old.last_seen_type if old_unit == finest else new.last_seen_type
    old_times_N = _scaled(old.last_seen_N, finest // old_unit, time_type, "of the old vocabulary", old.uri)
    new_times_N = _scaled(new.last_seen_N, finest // new_unit, time_type, "of the new ids", old.uri)
    return (
        replace(old, last_seen_N=old_times_N, last_seen_type=time_type),
        replace(new, last_seen_N=new_times_N, last_seen_type=time_type),
    )


def _parts(time_type: str) -> tuple[int | None, str]:
    """How many to a second, None for plain integers, and the time zone."""
    match = re.fullmatch(r"timestamp\[(s|ms|us|ns)(.*)\]", time_type)
    return (None, "") if match is None else (_PER_SECOND[match[1]], match[2])


def _scaled(times_N: NDArray[np.int64], factor: int, time_type: str, whose: str, where: str) -> NDArray[np.int64]:
    """The same times in a unit that is `factor` times finer, of `time_type`."""
    known_N = times_N[times_N != NEVER_SEEN]
    largest = max(int(known_N.max(initial=0)), -int(known_N.min(initial=0)))
    if largest * factor >= 2**63:
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            f"a time {whose} is too far away for the finer unit of the other times",
            where=where,
            expected=f"times that fit in {time_type}",
            found=f"{largest}, in a unit that is {factor:,} times coarser",
            hint="cast the column of times with the finer unit to the other one's",
        )
    return np.where(times_N == NEVER_SEEN, NEVER_SEEN, times_N * factor)

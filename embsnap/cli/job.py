"""The job that torchrun has started this process for, by the variables that it sets."""

from __future__ import annotations

import os
from dataclasses import dataclass

from embsnap.errors import ErrorKind, UsageError

__all__ = ["Job", "job_of_environ"]

_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""By processes that are to find each other."""
_MOST_RANKS = 1 << 20
"""Processes of a job."""


@dataclass(frozen=True, slots=True)
class Job:
    """Which process of how many this is."""

    rank: int = 0
    num_ranks: int = 1


def job_of_environ() -> Job:
    """The job that the environment tells of; one of this process alone where it tells of none.

    Raises:
        UsageError: `bad-option`: a variable is out of range, or is not set beside WORLD_SIZE.
    """
    num_ranks = _number("WORLD_SIZE", range(1, _MOST_RANKS + 1)) if "WORLD_SIZE" in os.environ else 1
    if num_ranks == 1:
        return Job()
    if unset := [name for name in _NEEDED if name not in os.environ]:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            f"the environment tells of {num_ranks} processes, but not how they find each other",
            where=f"WORLD_SIZE={num_ranks}",
            expected=f"{', '.join(_NEEDED)} beside it",
            found=f"no {', '.join(unset)}",
            hint="start the processes with torchrun, which sets them all, or unset WORLD_SIZE",
        )
    return Job(_number("RANK", range(num_ranks)), num_ranks)


def _number(name: str, allowed: range) -> int:
    text = os.environ[name]
    if not text.isdecimal() or int(text) not in allowed:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "an environment variable is no number of a job",
            where=name,
            expected=f"{allowed.start} to {allowed.stop - 1}",
            found=repr(text),
            hint="start the processes with torchrun, which sets it, or unset it",
        )
    return int(text)

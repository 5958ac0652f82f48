"""Damaged files for every reader, in a process whose memory is bounded."""

from __future__ import annotations

import resource
from functools import partial
from pathlib import Path

from embsnap.testing.fuzz_targets import fuzz_targets
from embsnap.testing.fuzzing import FuzzResult, Target, fuzz
from tests.torture.children import in_child
from tests.torture.tally import Tally

__all__ = ["fuzz_readers"]

_MOST_BYTES = 4 << 30
_CHUNK = 500
"""Cases to a process."""


def fuzz_readers(directory: Path, share: float, seed: int) -> list[Tally]:
    """20,000 cases for each reader at a share of one."""
    tallies = []
    for target in fuzz_targets():
        tally, first = Tally(f"damaged input for the reader of: {target.name}"), seed * 10**9
        last = first + max(1, round(20_000 * share))
        for start in range(first, last, _CHUNK):
            result: FuzzResult = in_child(partial(_bounded, target, start, last))
            tally.outcomes["read"] += result.num_read
            tally.outcomes["refused"] += sum(result.refused.values())
            tally.losses += [f"case {escape.case}: {escape.problem!a}" for escape in result.escapes]
        tallies.append(tally)
    return tallies


def _bounded(target: Target, start: int, last: int) -> FuzzResult:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    return fuzz(target, range(start, min(start + _CHUNK, last)))

"""The checkpoints of a run: a directory with one snapshot for each step, named by the step's number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.storage.uri import join_uri, open_store

__all__ = ["Step", "steps"]

_STEP = re.compile(r"([0-9]{1,18})/")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run."""

    step: int
    committed: bool
    """True if its snapshot is whole."""
    uri: str


def steps(uri: str, *, options: Mapping[str, str] | None = None) -> tuple[Step, ...]:
    """The steps under a run's directory, ascending; empty if it holds none."""
    store = open_store(uri, options)
    found = []
    for name in store.children():
        match = _STEP.fullmatch(name)
        if match is not None:
            committed = store.stat(f"{name}{METADATA_LOCATION}") is not None
            found.append(Step(int(match[1]), committed, join_uri(uri, match[1])))
    return tuple(sorted(found, key=lambda step: step.step))

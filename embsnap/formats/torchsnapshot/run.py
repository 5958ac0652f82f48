"""The checkpoints of a run: a directory with one snapshot for each step, named by the step's number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from embsnap.errors import ErrorKind, NotFoundError
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.storage.uri import join_uri, open_store

__all__ = ["Step", "resolve", "steps"]

_SUFFIX = re.compile(r"(?P<run>.+)@(?P<step>latest|[0-9]{1,18})")
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


def resolve(uri: str, *, options: Mapping[str, str] | None = None) -> str:
    """The URI of one snapshot.

    A final `@latest` stands for the newest committed step of the run in front of it, `@<digits>` for that step, unless
    there is a committed snapshot under the URI as it is written.

    Raises:
        NotFoundError: `no-such-step`, with the steps that there are.
    """
    match = _SUFFIX.fullmatch(uri)
    if match is None or open_store(uri, options).stat(METADATA_LOCATION) is not None:
        return uri
    found = steps(match["run"], options=options)
    committed = [step for step in found if step.committed]
    if match["step"] == "latest" and committed:
        return committed[-1].uri
    for step in committed:
        if match["step"] != "latest" and step.step == int(match["step"]):
            return step.uri
    raise _no_such_step(uri, match["step"], found)


def _no_such_step(uri: str, asked: str, found: tuple[Step, ...]) -> NotFoundError:
    torn = any(not step.committed and str(step.step) == asked for step in found)
    names = [str(step.step) for step in found if step.committed]
    return NotFoundError(
        ErrorKind.NO_SUCH_STEP,
        "its metadata is missing: it was never finished" if torn else "there is no such committed step",
        where=uri,
        expected=f"one of {', '.join(names[-20:])}" if names else "a run with a committed step",
        found=f"{len(found)} steps, {len(names)} of them committed",
        hint="name one of them, or @latest" if names else "check the directory; nothing in it is whole",
    )

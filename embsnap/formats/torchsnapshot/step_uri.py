"""From `run@latest` and `run@<step>` to the URI of one snapshot."""

from __future__ import annotations

import re
from collections.abc import Mapping

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.torchsnapshot.not_a_snapshot import what_it_is_instead
from embsnap.formats.torchsnapshot.run import Step, steps
from embsnap.storage.uri import open_store

__all__ = ["resolve"]

_SUFFIX = re.compile(r"(?P<run>.+)@(?P<step>latest|[0-9]{1,18})/*")


def resolve(uri: str, *, options: Mapping[str, str] | None = None) -> str:
    """The URI of one snapshot.

    A final `@latest` stands for the newest committed step of the run in front of it, `@<digits>` for that step, unless
    there is a committed snapshot under the URI as it is written.

    Raises:
        NotFoundError: `no-such-step`, with the steps that there are, or with what the run is instead;
            `no-such-object`: there is nothing in the run's place.
    """
    match = _SUFFIX.fullmatch(uri)
    if match is None or _is_committed(uri, options):
        return uri
    found = steps(match["run"], options=options)
    committed = [step for step in found if step.committed]
    if match["step"] == "latest" and committed:
        return committed[-1].uri
    for step in committed:
        if match["step"] != "latest" and step.step == int(match["step"]):
            return step.uri
    if not found:
        raise _no_run(uri, match["run"], options)
    raise _no_such_step(uri, match["step"], found)


def _is_committed(uri: str, options: Mapping[str, str] | None) -> bool:
    return open_store(uri, options).stat(METADATA_LOCATION) is not None


def _no_run(uri: str, run: str, options: Mapping[str, str] | None) -> EmbsnapError:
    if _is_committed(run, options):
        return _is_none(uri, "a snapshot", f"{run}, which is one snapshot and not a run of several")
    instead = what_it_is_instead(run, options=options)
    return instead if isinstance(instead, NotFoundError) else _is_none(uri, instead.found, instead.hint)


def _is_none(uri: str, found: str | None, hint: str | None) -> NotFoundError:
    return NotFoundError(
        ErrorKind.NO_SUCH_STEP, "is no run", where=uri, expected="a run with a committed step", found=found, hint=hint
    )


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

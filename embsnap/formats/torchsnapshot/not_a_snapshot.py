"""What a place without `.snapshot_metadata` is instead, for the message that refuses it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, SnapshotError
from embsnap.formats.copy_claim import CLAIM_LOCATION, unfinished_copy
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.torchsnapshot.run import Step, steps
from embsnap.storage.base import Store
from embsnap.storage.nearest import hint_near
from embsnap.storage.uri import open_store, split_uri

__all__ = ["what_it_is_instead"]

_OBJECT_DIRECTORIES = frozenset({"batched/", "sharded/", "replicated/", "replicated_sharded/", "embsnap/"})
_NUMBER = re.compile(r"[0-9]+/")
_PARQUET = (".parquet", ".pq")


def what_it_is_instead(uri: str, *, options: Mapping[str, str] | None = None) -> EmbsnapError:
    """The error for a URI that holds no `.snapshot_metadata`.

    Returns:
        A `NotFoundError` if nothing is there, else a `SnapshotError`: `unfinished-copy`, `torn-snapshot` for other
        objects without metadata and for a run of torn steps, `not-a-snapshot` for anything else, which is named.
    """
    store = open_store(uri, options)
    names = store.children()
    if not names:
        return _no_directory(uri, options)
    numbered = steps(uri, options=options)
    committed = [step for step in numbered if step.committed]
    if committed:
        found = f"a run with {len(committed)} committed steps up to {committed[-1].step}"
        return _not_a_snapshot(uri, found, f"{uri}@latest, or {uri}@{committed[-1].step}")
    if store.stat(CLAIM_LOCATION) is not None:
        return unfinished_copy(uri)
    if not _OBJECT_DIRECTORIES.intersection(names) and any(_is_torn(step, options) for step in numbered):
        return _no_step_committed(uri, numbered)
    if _holds_objects(store, names):
        return SnapshotError(
            ErrorKind.TORN_SNAPSHOT,
            "is a torn snapshot: its objects are there, its metadata is not",
            where=uri,
            expected=METADATA_LOCATION,
            found=", ".join(names[:5]),
            hint="use the step before it; whatever wrote this one did not finish",
        )
    return _not_a_snapshot(uri, *_other(names))


def _no_directory(uri: str, options: Mapping[str, str] | None) -> EmbsnapError:
    try:
        root, name = split_uri(uri)
    except EmbsnapError:
        return _not_a_snapshot(uri, "nothing", None)
    parent = open_store(root, options)
    if parent.stat(name) is not None:
        hint = f"give the directory {root}" if name == METADATA_LOCATION else "give the directory of a snapshot"
        return _not_a_snapshot(uri, "a single file", hint)
    if f"{name}/" in parent.children():
        return _not_a_snapshot(uri, "an empty directory", "check that the snapshot was written there")
    return NotFoundError(
        ErrorKind.NO_SUCH_OBJECT,
        "there is nothing",
        where=uri,
        expected="the directory of a snapshot",
        hint=hint_near(uri, options),
    )


def _holds_objects(store: Store, names: Sequence[str]) -> bool:
    """True for the directories that snapshots are made of, or numbered ones (of ranks)."""
    if _OBJECT_DIRECTORIES.intersection(names):
        return True
    return any(_NUMBER.fullmatch(name) and store.children(name) for name in names)


def _is_torn(step: Step, options: Mapping[str, str] | None) -> bool:
    """Whether a numbered directory is a step with objects, rather than a rank's directory."""
    store = open_store(step.uri, options)
    return _holds_objects(store, store.children())


def _no_step_committed(uri: str, torn: Sequence[Step]) -> SnapshotError:
    return SnapshotError(
        ErrorKind.TORN_SNAPSHOT,
        "is a run of which no step is committed: objects are there, metadata is not",
        where=uri,
        expected=f"a step with its {METADATA_LOCATION}",
        found=f"torn steps {', '.join(str(step.step) for step in torn[-20:])}",
        hint="use another run; whatever wrote these steps did not finish",
    )


def _other(names: Sequence[str]) -> tuple[str, str | None]:
    if ".metadata" in names:
        return "a checkpoint of torch.distributed.checkpoint (DCP)", "embsnap reads what torchsnapshot writes"
    if any(name.endswith(_PARQUET) for name in names):
        return "a directory of parquet files", "a vocabulary goes into the configuration, as a table's vocab"
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"a directory with {len(names)} other things: {shown}", "give the directory of a snapshot"


def _not_a_snapshot(uri: str, found: str, hint: str | None) -> SnapshotError:
    problem = "is not a snapshot"
    return SnapshotError(
        ErrorKind.NOT_A_SNAPSHOT, problem, where=uri, expected=METADATA_LOCATION, found=found, hint=hint
    )

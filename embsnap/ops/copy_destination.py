"""Where a copy may go, and what an earlier attempt has left there for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embsnap.errors import ErrorKind, RefusedError, UsageError
from embsnap.formats.copy_claim import CLAIM_LOCATION, read_claim
from embsnap.formats.torchsnapshot.destination import is_sidecar, leftovers, run_of, taken
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.model.copying import CopyWhat
from embsnap.model.findings import Finding
from embsnap.ops.copy_sources import CopySource
from embsnap.storage.base import ObjectInfo, Store
from embsnap.storage.uri import open_store, split_uri

__all__ = ["CopyDestination", "check_apart", "examine", "examine_for_file"]

_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class CopyDestination:
    """A destination that may be written."""

    store: Store
    present: Mapping[str, ObjectInfo]
    """Objects that an earlier attempt has finished, by location. Their bytes are still to be compared."""
    findings: tuple[Finding, ...] = ()
    name: str | None = None
    """What a single file is to be called there."""


def check_apart(source: CopySource, uri: str, source_options: Mapping[str, str], options: Mapping[str, str]) -> None:
    """Refuse a destination that lies within what is copied.

    Raises:
        UsageError: `bad-option`.
    """
    inner, outer = open_store(uri, options).uri, open_store(source.uri, source_options).uri
    if inner != outer and inner.startswith(f"{outer.rstrip('/')}/"):
        problem, hint = "lies within what is to be copied", "copy to a place beside it"
        raise UsageError(ErrorKind.BAD_OPTION, problem, where=uri, expected=f"not under {outer}", hint=hint)


def examine_for_file(uri: str, name: str, options: Mapping[str, str]) -> CopyDestination:
    """The place of a single file.

    Args:
        uri: Its new name, if that ends as its old one or as parquet files do; else an empty directory to put it in.
        name: Its old name.
        options: Of the store.

    Raises:
        RefusedError: `destination-taken`.
    """
    _, dot, ending = name.rpartition(".")
    renamed = uri.endswith((*_PARQUET, *([dot + ending] if dot else [])))
    root, new_name = split_uri(uri) if renamed else (uri, name)
    store = open_store(root, options)
    found = store.stat(new_name) if renamed else next(store.list(), None)
    if found is not None:
        expected = "a name that is free, or an empty directory"
        raise _taken(uri, "holds something already", expected=expected, found=repr(found.location))
    return CopyDestination(store, {}, name=new_name)


def examine(uri: str, source: CopySource, options: Mapping[str, str]) -> CopyDestination:
    """The place of a snapshot or of a directory of files.

    It may hold nothing but what an earlier copy of the same source left there and, where the source is a snapshot,
    what runs of embsnap left that did not commit.

    Raises:
        RefusedError: `destination-taken`.
    """
    store = open_store(uri, options)
    if store.stat(METADATA_LOCATION) is not None:
        raise _holds_another(store, source)
    wanted = source.sizes
    present: dict[str, ObjectInfo] = {}
    num_left, left_bytes = 0, 0
    for found in store.list():
        if wanted.get(found.location) == found.size:
            present[found.location] = found
        elif found.location not in wanted and source.what is CopyWhat.SNAPSHOT and _is_of_a_run(found.location):
            num_left, left_bytes = num_left + 1, left_bytes + found.size
        elif found.location != CLAIM_LOCATION:
            raise _taken(uri, f"holds {found.location!r}, which this copy did not write")
    _check_claim(uri, store, source, present)
    for found in store.unfinished():
        num_left, left_bytes = num_left + 1, left_bytes + found.size
    return CopyDestination(store, present, leftovers(store, num_left, left_bytes))


def _holds_another(store: Store, source: CopySource) -> RefusedError:
    """The destination holds a committed snapshot."""
    info = store.stat(METADATA_LOCATION)
    if info is not None and info.size == source.metadata_bytes and source.what is CopyWhat.SNAPSHOT:
        mine = source.store.read(METADATA_LOCATION, limit=info.size)
        if store.read(METADATA_LOCATION, limit=info.size) == mine:
            return taken(store, "holds this very snapshot already, committed")
    return taken(store, "holds a snapshot already")


def _check_claim(uri: str, store: Store, source: CopySource, present: Mapping[str, ObjectInfo]) -> None:
    claim = read_claim(store)
    if claim is not None and claim.digest != source.digest:
        hint = "finish that copy, or have `embsnap gc` remove what it left"
        raise _taken(uri, "holds an unfinished copy of something else", hint=hint)
    if claim is None and present:
        raise _taken(uri, f"holds {next(iter(present))!r}, which no copy claims to have written")


def _is_of_a_run(location: str) -> bool:
    return run_of(location) is not None or is_sidecar(location)


def _taken(
    uri: str,
    problem: str,
    *,
    expected: str = "an empty destination, or one with an unfinished copy of the same source",
    found: str | None = None,
    hint: str = "copy to another destination; embsnap overwrites nothing",
) -> RefusedError:
    return RefusedError(ErrorKind.DESTINATION_TAKEN, problem, where=uri, expected=expected, found=found, hint=hint)

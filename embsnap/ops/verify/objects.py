"""The objects of a snapshot: there, long enough, and no byte in two arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.metadata_findings import tensors_of
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.kernels.threads import run
from embsnap.model.dtypes import DTYPES
from embsnap.model.findings import Finding, Severity
from embsnap.model.manifest import ObjectEntry, TensorEntry
from embsnap.model.paths import split_entry_path
from embsnap.ops.verify.checked import Checked, at_most
from embsnap.storage.base import ObjectInfo, Store

__all__ = ["Objects", "look_at_objects"]

_RAW = "buffer_protocol"
_NO_END = 1 << 128
"""Stands for the end of an object: beyond that of any byte range."""

_Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Objects:
    """What the storage has of what the manifest names."""

    present: Mapping[str, ObjectInfo]
    """By location."""
    names: Mapping[str, Sequence[str]]
    """Location → logical paths with bytes in it."""
    needed: Mapping[str, int]
    """Location → bytes that it has at least; 1 for a pickle."""
    checked: Checked


@dataclass(frozen=True, slots=True)
class _Use:
    """One entry's bytes in one object."""

    path: str
    """Entry path."""
    start: int
    end: int | None
    """None for the whole object."""
    num_bytes: int | None
    """As shape and dtype say; None for a pickle."""

    @property
    def logical(self) -> str:
        split = split_entry_path(self.path)
        return self.path if split is None else split[1]


def look_at_objects(snapshot: Snapshot, *, threads: int) -> Objects:
    """Ask for the size of every object that an entry names, `threads` at a time, and compare. No object is read."""
    uses = _uses(snapshot)
    places = list(uses)
    tasks = [partial(_stat, snapshot.store, location) for location in places]
    states = dict(zip(places, run(tasks, threads), strict=True))
    findings = [finding for location in places for finding in _defects(snapshot, location, states, uses[location])]
    present = {location: state for location, state in states.items() if isinstance(state, ObjectInfo)}
    names = {location: list(dict.fromkeys(use.logical for use in used)) for location, used in uses.items()}
    needed = {location: max(map(_least_bytes, used)) for location, used in uses.items()}
    return Objects(present, names, needed, Checked(len(places), "objects", tuple(at_most(findings))))


def _stat(store: Store, location: str) -> ObjectInfo | SnapshotError | None:
    try:
        return store.stat(location)
    except SnapshotError as error:
        return error


def _uses(snapshot: Snapshot) -> dict[str, list[_Use]]:
    uses: dict[str, list[_Use]] = {}
    for path, entry in snapshot.manifest.entries.items():
        if isinstance(entry, ObjectEntry):
            uses.setdefault(entry.location, []).append(_Use(path, 0, None, None))
        for tensor in tensors_of(entry):
            start, end = tensor.byte_range or (0, None)
            uses.setdefault(tensor.location, []).append(_Use(path, start, end, _num_bytes(tensor)))
    return uses


def _least_bytes(use: _Use) -> int:
    if use.end is not None:
        return use.end if use.end > use.start else 0
    return 1 if use.num_bytes is None else use.num_bytes


def _num_bytes(tensor: TensorEntry) -> int | None:
    dtype = DTYPES.get(tensor.dtype.removeprefix("torch."))
    return None if dtype is None or tensor.serializer != _RAW else prod(tensor.shape) * dtype.itemsize


def _defects(
    snapshot: Snapshot, location: str, states: Mapping[str, ObjectInfo | SnapshotError | None], uses: list[_Use]
) -> Iterator[Finding]:
    state, place = states[location], f"{snapshot.uri}/{location}"
    if isinstance(state, SnapshotError):
        yield Finding(Severity.ERROR, state.kind.value, uses[0].path, state.problem, state.hint or "")
        return
    if state is None:
        if not all(use.num_bytes == 0 for use in uses):
            message = f"the object is missing; it holds {_named(uses)}"
            remedy = "fetch it again, or use another snapshot"
            yield Finding(Severity.ERROR, ErrorKind.MISSING_OBJECT.value, place, message, remedy)
        return
    yield from _wrong_sizes(place, state.size, uses)
    yield from _overlaps(place, uses)


def _wrong_sizes(place: str, size: int, uses: list[_Use]) -> Iterator[Finding]:
    """Too short for a byte range, or of another size than the whole object must have."""
    cut = [use for use in uses if use.end is not None and use.end > size]
    if cut:
        most = max(use.end or 0 for use in cut)
        message = f"the object has {size} bytes where {most} are needed; it is too short for {_named(cut)}"
        remedy = "the object was cut off: fetch it again, or use another snapshot"
        yield Finding(Severity.ERROR, ErrorKind.SHORT_OBJECT.value, place, message, remedy)
    for use in uses:
        if use.end is None and use.num_bytes not in (None, size):
            kind = ErrorKind.SHORT_OBJECT if size < (use.num_bytes or 0) else ErrorKind.BAD_ENTRY
            message = f"the object has {size} bytes and is to be all {use.num_bytes} bytes of {use.path!r}"
            yield Finding(Severity.ERROR, kind.value, place, message, _remedy_for_size(size, use))
        elif use.end is None and use.num_bytes is None and size == 0:
            message = f"the object is empty and is to be the pickle {use.path!r}"
            yield Finding(Severity.ERROR, ErrorKind.SHORT_OBJECT.value, place, message, "fetch it again")


def _remedy_for_size(size: int, use: _Use) -> str:
    if use.num_bytes is not None and size == use.num_bytes - 2:
        return "torchsnapshot 0.1.0 loses the last element of an odd number of bfloat16 values: its value is gone"
    return "fetch the object again, or use another snapshot"


def _overlaps(place: str, uses: list[_Use]) -> Iterator[Finding]:
    """Byte ranges that overlap without being the same, and arrays of other names that are the same whole object."""
    ranges = sorted({(use.start, _NO_END if use.end is None else use.end) for use in uses if use.num_bytes != 0})
    overlaps: list[tuple[_Range, _Range]] = []
    holder = (0, 0)
    for each in ranges:
        if each[0] < holder[1]:
            overlaps.append((holder, each))
        holder = max(holder, each, key=lambda span: span[1])
    if overlaps:
        first, second = overlaps[0]
        involved = [use for use in uses if use.start in (first[0], second[0])]
        message = f"the bytes {_span(second)} overlap the bytes {_span(first)}: {_named(involved)}"
        remedy = "one was written over the other, or the manifest was edited"
        yield Finding(Severity.ERROR, "overlapping-bytes", place, message, remedy, len(overlaps))
    whole = {use.logical: use for use in uses if use.end is None}
    if len(whole) > 1:
        message = f"{len(whole)} entries are this whole object: {_named(list(whole.values()))}"
        remedy = "torchsnapshot gives some entries the same object; one was written over the other"
        yield Finding(Severity.WARNING, "shared-bytes", place, message, remedy)


def _span(span: _Range) -> str:
    return f"[{span[0]}, {'end' if span[1] == _NO_END else span[1]})"


def _named(uses: Sequence[_Use]) -> str:
    paths = list(dict.fromkeys(use.path for use in uses))
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(map(repr, paths[:3])) + more

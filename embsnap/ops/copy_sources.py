"""What a copy is made of: the objects of one snapshot, the parquet files of one vocabulary, or one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, SnapshotError, UsageError
from embsnap.formats.copy_claim import digest_of
from embsnap.formats.sidecar import ObjectSums, sidecar_of
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.torchsnapshot.named_objects import named_objects
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.formats.vocabulary_files import find_parquet
from embsnap.model.copying import CopyWhat
from embsnap.model.findings import Finding, Severity
from embsnap.storage.base import ObjectInfo, Store, check_location
from embsnap.storage.uri import open_store, split_uri

__all__ = ["CopySource", "SourceObject", "find_source", "snapshot_source"]

_NO_SNAPSHOT = {ErrorKind.NOT_A_SNAPSHOT, ErrorKind.TORN_SNAPSHOT, ErrorKind.NO_SUCH_OBJECT}
_MAX_EXAMPLES = 5
_NOTHING: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object that is to be copied."""

    info: ObjectInfo
    sums: ObjectSums | None = None
    """As the sidecar has them."""
    name: str | None = None
    """Its location in the destination, if it is another one there."""

    @property
    def target(self) -> str:
        """Its location in the destination."""
        return self.name or self.info.location

    @property
    def location(self) -> str:
        """Its location in the source."""
        return self.info.location

    @property
    def crc32c(self) -> int | None:
        """What is known of its bytes before they are read."""
        return self.info.crc32c if self.sums is None else int(self.sums.crc32c, 16)


@dataclass(frozen=True, slots=True)
class CopySource:
    """All that belongs to what is copied."""

    what: CopyWhat
    uri: str
    store: Store
    digest: str
    """SHA-256 of a snapshot's metadata; else of the names and sizes of the files."""
    objects: tuple[SourceObject, ...]
    """To be copied in any order, but for a snapshot's metadata, which are read at the commit."""
    sidecar: SourceObject | None = None
    """To be copied after them."""
    metadata_bytes: int = 0
    findings: tuple[Finding, ...] = _NOTHING
    """What is not copied."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every object by its location in the destination, the metadata left out."""
        last = () if self.sidecar is None else (self.sidecar,)
        return {each.target: each.info.size for each in (*self.objects, *last)}


def find_source(uri: str, options: Mapping[str, str]) -> CopySource:
    """Look up what a URI means and what it consists of; metadata are read, no object is.

    Args:
        uri: A snapshot, `RUN@latest` or `RUN@<step>`; a file; a directory or a glob of parquet files.
        options: Of the store.

    Raises:
        NotFoundError: There is nothing of the kind.
        SnapshotError: Torn, unreadable, or with objects that are missing or too short.
        StorageError: The storage failed.
    """
    file = _file(uri, options)
    if file is not None:
        return file
    try:
        snapshot = open_snapshot(uri, options=options)
    except (NotFoundError, SnapshotError) as error:
        if error.kind not in _NO_SNAPSHOT:
            raise
        return _files(uri, options, error)
    return snapshot_source(snapshot)


def _file(uri: str, options: Mapping[str, str]) -> CopySource | None:
    try:
        root, name = split_uri(uri)
    except UsageError:
        return None
    store = open_store(root, options)
    info = store.stat(name)
    if info is None:
        return None
    return CopySource(CopyWhat.FILE, uri, store, digest_of(uri, {name: info.size}), (SourceObject(info),))


def _files(uri: str, options: Mapping[str, str], no_snapshot: EmbsnapError) -> CopySource:
    try:
        found = find_parquet(uri, options)
    except NotFoundError as no_files:
        raise (no_files if any(character in uri for character in "*?[") else no_snapshot) from None
    wanted = set(found.locations)
    objects = tuple(SourceObject(info) for info in found.store.list() if info.location in wanted)
    digest = digest_of(uri, {each.location: each.info.size for each in objects})
    left = [name for finding in found.findings for name in finding.examples]
    return CopySource(
        CopyWhat.FILES,
        uri,
        found.store,
        digest,
        objects,
        findings=tuple(_left_out(uri, left, sum(finding.count for finding in found.findings))),
    )


def snapshot_source(snapshot: Snapshot) -> CopySource:
    """A snapshot that is open; errors as those of `find_source`."""
    listed = {info.location: info for info in snapshot.store.list()}
    objects = {each.location: each for each in _objects(snapshot, listed)}
    sidecar = listed.get(sidecar_of(snapshot.metadata_sha256))
    left = [
        name for name in listed if name not in objects and name != METADATA_LOCATION and listed[name] is not sidecar
    ]
    return CopySource(
        what=CopyWhat.SNAPSHOT,
        uri=snapshot.uri,
        store=snapshot.store,
        digest=snapshot.metadata_sha256,
        objects=tuple(objects.values()),
        sidecar=None if sidecar is None else SourceObject(sidecar),
        metadata_bytes=snapshot.metadata_bytes,
        findings=(*_unchecked(snapshot, sidecar), *_left_out(snapshot.uri, left, len(left))),
    )


def _objects(snapshot: Snapshot, listed: Mapping[str, ObjectInfo]) -> Iterator[SourceObject]:
    named = named_objects(snapshot.manifest)
    sums = {} if snapshot.sidecar is None else snapshot.sidecar.objects
    for location, least_bytes in named.needed.items():
        check_location(location, where=snapshot.uri)
        info = listed.get(location) or snapshot.store.stat(location)
        known = sums.get(location)
        if info is None:
            raise _damaged(snapshot, location, ErrorKind.MISSING_OBJECT, "is missing", "an object", "none")
        if info.size < least_bytes or (known is not None and info.size != known.size):
            expected = f"at least {least_bytes} bytes" if known is None else f"{known.size} bytes"
            found = f"{info.size} bytes"
            raise _damaged(snapshot, location, ErrorKind.SHORT_OBJECT, "has another size", expected, found)
        yield SourceObject(info, known)
    for location in sorted(named.perhaps | named.claims):
        if location in listed:
            yield SourceObject(listed[location], sums.get(location))


def _damaged(
    snapshot: Snapshot, location: str, kind: ErrorKind, problem: str, expected: str, found: str
) -> SnapshotError:
    where = f"{snapshot.store.uri}/{location}"
    hint = "the snapshot is damaged: copy another one"
    return SnapshotError(kind, f"the object {problem}", where=where, expected=expected, found=found, hint=hint)


def _unchecked(snapshot: Snapshot, sidecar: ObjectInfo | None) -> Iterator[Finding]:
    """The finding about a sidecar that is there and of no use."""
    if sidecar is not None and snapshot.sidecar is None:
        yield from (finding for finding in snapshot.findings if finding.kind == "sidecar-ignored")


def _left_out(uri: str, names: list[str], count: int) -> Iterator[Finding]:
    if count:
        message = f"{count} objects that lie beside it do not belong to it and are not copied"
        remedy = "copy what you need of them by itself"
        yield Finding(Severity.NOTE, "not-copied", uri, message, remedy, count, tuple(names[:_MAX_EXAMPLES]))

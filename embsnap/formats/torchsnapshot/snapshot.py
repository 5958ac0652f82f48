"""A snapshot that is open for reading: its manifest, its sidecar, its tables."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, SnapshotError, StorageError
from embsnap.formats.sidecar import MAX_SIDECAR_BYTES, Sidecar, parse_sidecar, sidecar_location
from embsnap.formats.torchsnapshot.arrays import assemble, assemble_entry, is_array
from embsnap.formats.torchsnapshot.listing import Listing
from embsnap.formats.torchsnapshot.metadata import MAX_METADATA_BYTES, METADATA_LOCATION, parse_metadata
from embsnap.formats.torchsnapshot.metadata_findings import metadata_findings
from embsnap.formats.torchsnapshot.not_a_snapshot import what_it_is_instead
from embsnap.formats.torchsnapshot.primitives import Primitive, parse_primitive
from embsnap.formats.torchsnapshot.step_uri import resolve
from embsnap.formats.torchsnapshot.tables import TableIndex
from embsnap.model.findings import Finding, Severity
from embsnap.model.manifest import ChunkedTensorEntry, Manifest, PrimitiveEntry, TensorEntry
from embsnap.model.paths import split_entry_path
from embsnap.model.table import StoredArray, Table
from embsnap.storage.base import Store
from embsnap.storage.uri import Uri, join_uri, open_store

if TYPE_CHECKING:
    from embsnap.formats.block_checks import BlockChecks
    from embsnap.formats.torchsnapshot.rows import ArrayReader

__all__ = ["Snapshot", "open_snapshot"]


class Snapshot:
    """A committed snapshot.

    Attributes:
        uri: Its root, after `@latest` and `@<step>` are resolved.
        store: Where its objects are.
        manifest: All its entries.
        metadata_sha256: Digest of the bytes of `.snapshot_metadata`, 64 hex digits.
        metadata_bytes: Their number.
        sidecar: What embsnap wrote beside it, if it did.
        sidecar_findings: Why what is there is not used as its sidecar, if it is not.
        listing: The entries grouped by logical path.
        index: Its tables by name.
        checks_reads: Whether what is read of its rows is compared with the sidecar's checksums.
    """

    def __init__(self, store: Store, uri: str, metadata: bytes, *, check: bool = True) -> None:
        """Parse the metadata and read the sidecar; `open_snapshot` is the way to call this."""
        self.uri = uri
        self.store = store
        self.checks_reads = check
        self._readers: list[ArrayReader] = []
        self.metadata_sha256 = hashlib.sha256(metadata).hexdigest()
        self.metadata_bytes = len(metadata)
        self.manifest: Manifest = parse_metadata(metadata, where=join_uri(uri, METADATA_LOCATION))
        self.listing = Listing(self.manifest)
        self.index = TableIndex(self.listing)
        self.sidecar, self.sidecar_findings = _read_sidecar(store, metadata, self.metadata_sha256)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What the metadata and the sidecar show to be wrong or left unread, table by table; no object is read."""
        return (*self.sidecar_findings, *metadata_findings(self.listing, self.index))

    def tables(self) -> tuple[Table, ...]:
        """All tables, in the manifest's order.

        Raises:
            SnapshotError: One of them cannot be read as it stands.
        """
        return tuple(self.index.build(path) for path in self.index.names)

    def table(self, name: str, *, with_state: bool = True) -> Table:
        """The table of that name, its cover proven.

        Args:
            name: Table name (`user`), state key (`ebc.embedding_bags.user.weight`), logical path
                (`model/ebc.embedding_bags.user.weight`) or full entry path (`0/model/…`); all of them exactly. Any
                two-dimensional array has a full entry path.
            with_state: False leaves the table's optimizer state aside, broken or not.

        Raises:
            NotFoundError: `no-such-table` or `ambiguous-table`, with candidates.
            SnapshotError: Its weight, or a state of it, cannot be read as it stands.
        """
        return self.index.build(name, with_state=with_state)

    def array(self, path: str) -> StoredArray:
        """The array under a logical path (all ranks' shards) or a full entry path (of one rank where it has its own).

        Raises:
            NotFoundError: `no-such-object`: no array is there.
            SnapshotError: It cannot be read as it stands.
        """
        entry, split = self.manifest.entries.get(path), split_entry_path(path)
        if isinstance(entry, TensorEntry | ChunkedTensorEntry) and split is not None:
            return assemble_entry(split[1], entry, split[0])
        logical = split[1] if entry is not None and split is not None else path
        if not any(map(is_array, self.listing.by_path.get(logical, {}).values())):
            raise self._nothing_there(path, "an array")
        return assemble(self.listing, logical)

    def reader(self, array: StoredArray) -> ArrayReader:
        """What hands out the rows of an array of this snapshot."""
        # Whoever only looks at metadata does not wait for numpy and the kernels to load.
        home = import_module("embsnap.formats.torchsnapshot.rows")
        reader: ArrayReader = home.ArrayReader(self.store, array, self._block_checks)
        self._readers.append(reader)
        return reader

    @property
    def num_unchecked_rows(self) -> int:
        """Rows that its readers have read without a checksum being compared, those of optimizer state included."""
        return sum(reader.num_unchecked_rows for reader in self._readers)

    @cached_property
    def _block_checks(self) -> BlockChecks | None:
        if self.sidecar is None or not self.checks_reads:
            return None
        home = import_module("embsnap.formats.block_checks")
        checks: BlockChecks = home.BlockChecks(self.sidecar.objects, self.uri)
        return checks

    def check_unchanged(self) -> None:
        """Prove that the snapshot is still the one that was opened; for whoever has read rows of it.

        Raises:
            StorageError: `object-replaced`: other metadata is there by now, or none.
        """
        try:
            digest = hashlib.sha256(self.store.read(METADATA_LOCATION, limit=MAX_METADATA_BYTES)).hexdigest()
        except NotFoundError:
            digest = "none"
        if digest != self.metadata_sha256:
            raise StorageError(
                ErrorKind.OBJECT_REPLACED,
                "the snapshot was replaced while it was read",
                where=join_uri(self.uri, METADATA_LOCATION),
                expected=f"metadata with the SHA-256 {self.metadata_sha256}",
                found=digest,
                hint="run the command again once the snapshot is written",
            )

    def value(self, path: str) -> Primitive:
        """The number, string, boolean or bytes under a logical path (the lowest rank's) or a full entry path.

        Raises:
            NotFoundError: `no-such-object`: nothing is there, or no primitive.
            SnapshotError: `bad-entry`: its text is not of its type.
        """
        entry = self.listing.entry(path)
        if not isinstance(entry, PrimitiveEntry):
            raise self._nothing_there(path, "a number, string, boolean or bytes")
        return parse_primitive(entry, where=path)

    def _nothing_there(self, path: str, expected: str) -> NotFoundError:
        entry = self.listing.entry(path)
        found = "nothing" if entry is None else f"an entry of type {entry.type!r}"
        hint = "`embsnap inspect` lists what the snapshot holds"
        problem = "is not in the snapshot"
        return NotFoundError(
            ErrorKind.NO_SUCH_OBJECT, problem, where=f"{self.uri} {path}", expected=expected, found=found, hint=hint
        )


def open_snapshot(uri: Uri, *, options: Mapping[str, str] | None = None, check: bool = True) -> Snapshot:
    """Open a committed snapshot: two small objects are read, nothing is listed.

    Args:
        uri: Its root; `RUN@latest` and `RUN@<step>` name a step of a run.
        options: For the storage's client.
        check: False reads rows without comparing whole blocks with the sidecar's checksums.

    Raises:
        NotFoundError: Nothing is there, or no such step.
        SnapshotError: What is there is no committed, readable snapshot; the message says what it is instead.
        StorageError: The storage failed.
        UsageError: The URI is malformed.
    """
    uri = resolve(os.fspath(uri), options=options)
    store = open_store(uri, options)
    try:
        metadata = store.read(METADATA_LOCATION, limit=MAX_METADATA_BYTES)
    except NotFoundError:
        raise what_it_is_instead(uri, options=options) from None
    except StorageError as error:
        if error.kind is ErrorKind.OBJECT_TOO_LARGE:
            raise _too_large(uri, error) from None
        raise
    return Snapshot(store, uri, metadata, check=check)


def _too_large(uri: str, error: StorageError) -> SnapshotError:
    return SnapshotError(
        ErrorKind.METADATA_TOO_LARGE,
        "is larger than any manifest should be",
        where=join_uri(uri, METADATA_LOCATION),
        expected=error.expected,
        found=error.found,
        hint="check what wrote it",
    )


def _read_sidecar(store: Store, metadata: bytes, digest: str) -> tuple[Sidecar | None, tuple[Finding, ...]]:
    location = sidecar_location(metadata)
    place = f"{store.uri}/{location}"
    try:
        sidecar = parse_sidecar(store.read(location, limit=MAX_SIDECAR_BYTES))
    except NotFoundError:
        return None, ()
    except EmbsnapError as error:
        return None, (_ignored(place, f"it cannot be read: {error.problem}"),)
    if sidecar.metadata_sha256 != digest:
        return None, (_ignored(place, "it was written for other metadata"),)
    return sidecar, ()


def _ignored(place: str, reason: str) -> Finding:
    return Finding(
        Severity.WARNING,
        "sidecar-ignored",
        place,
        f"the sidecar is ignored: {reason}",
        remedy="name vocabularies in the configuration; checksums are not checked",
    )

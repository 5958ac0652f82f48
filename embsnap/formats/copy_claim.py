"""The claim of a copy: what tells an unfinished copy from a whole one, and from anything that embsnap did not write.

`.embsnap/copy.json` is created before the first object and deleted after the last step. As long as it is there, the
destination belongs to the copy of what its digest names: that copy may go on, another one may not begin, a directory of
parquet files is no vocabulary yet, and `embsnap gc` knows which objects to remove if the copy is given up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, SnapshotError
from embsnap.formats.sidecar_fields import Fields
from embsnap.storage.base import Store

__all__ = ["CLAIM_LOCATION", "CopyClaim", "check_finished", "digest_of", "read_claim", "unfinished_copy"]

CLAIM_LOCATION = ".embsnap/copy.json"
_MAX_BYTES = 1 << 30
_SCHEMA = "embsnap.copy"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class CopyClaim:
    """Which copy a destination belongs to."""

    digest: str
    """64 hex digits: of a snapshot's metadata, or `digest_of` the files of a vocabulary."""
    objects: Mapping[str, int]
    """Bytes of every object that it writes, by location in the destination."""

    def to_bytes(self) -> bytes:
        """As JSON."""
        fields = {"schema": _SCHEMA, "version": _VERSION, "digest": self.digest, "objects": dict(self.objects)}
        return json.dumps(fields).encode() + b"\n"


def digest_of(uri: str, objects: Mapping[str, int]) -> str:
    """Digest of a URI and of the sizes of what is there, where nothing better names what is copied."""
    return hashlib.sha256(json.dumps([uri, sorted(objects.items())]).encode()).hexdigest()


def read_claim(store: Store) -> CopyClaim | None:
    """The claim on a destination, or None if no copy is under way there.

    Raises:
        SnapshotError: `bad-metadata`: it cannot be read.
        StorageError: The storage failed.
    """
    try:
        data = store.read(CLAIM_LOCATION, limit=_MAX_BYTES)
    except NotFoundError:
        return None
    try:
        return _parse(data)
    except (ValueError, RecursionError, EmbsnapError) as error:
        raise SnapshotError(
            ErrorKind.BAD_METADATA,
            "is no claim of a copy that this version understands",
            where=f"{store.uri}/{CLAIM_LOCATION}",
            expected=f"{_SCHEMA} version {_VERSION}",
            found=str(error)[:120],
            hint="find out who wrote it; once it is deleted, what the copy left counts as foreign",
        ) from None


def check_finished(uri: str, names: Iterable[str], taken: Iterable[str]) -> None:
    """Refuse the files of a directory that is still being copied.

    Args:
        uri: What was asked for, for the message.
        names: Everything listed.
        taken: Locations that are about to be read.

    Raises:
        SnapshotError: `unfinished-copy`.
    """
    claimed = [name.removesuffix(CLAIM_LOCATION) for name in names if f"/{name}".endswith(f"/{CLAIM_LOCATION}")]
    if claimed and any(location.startswith(tuple(claimed)) for location in taken):
        raise unfinished_copy(uri)


def unfinished_copy(uri: str) -> SnapshotError:
    """What is there is a copy that is under way, or was given up."""
    return SnapshotError(
        ErrorKind.UNFINISHED_COPY,
        "is an unfinished copy",
        where=uri,
        found=CLAIM_LOCATION,
        hint="run the same `embsnap copy` again, which goes on where it stopped; `embsnap gc` removes what it left",
    )


def _parse(data: bytes) -> CopyClaim:
    fields = Fields(json.loads(data), "claim")
    if fields.text("schema") != _SCHEMA or fields.integer("version") != _VERSION:
        raise ValueError("another schema or version")
    objects = fields.child("objects")
    for location in objects.names:
        objects.safe_location(location)
    return CopyClaim(fields.hex("digest", 64), {location: objects.integer(location) for location in objects.names})

"""Where one writer writes in Google Cloud Storage, and whether what is there afterwards is its own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embsnap.errors import ErrorKind
from embsnap.storage.base import ObjectInfo
from embsnap.storage.gcs_client import GcsClient, object_path
from embsnap.storage.gcs_objects import FIELDS, WRITER, info_of_resource, writer_of
from embsnap.storage.remote_errors import destination_taken
from embsnap.storage.retries import TransientError

__all__ = ["Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where one writer writes.

    Attributes:
        client: How to get there.
        bucket: Name.
        name: Of the object in the bucket.
        location: Of the object in its store.
        where: Its URI.
        token: Of this writer, and no other.
    """

    client: GcsClient
    bucket: str
    name: str
    location: str
    where: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def described(self, **more: str) -> bytes:
        """The resource to be made, as JSON."""
        return json.dumps({"name": self.name, "metadata": {WRITER: self.token}, **more}).encode()

    async def find_mine(self, silence_s: float) -> dict[str, Any] | None:
        """Resource of the object there if this writer made it, None if there is none.

        Raises:
            RefusedError: Another writer made it.
        """
        found = await self.find(silence_s)
        if found is not None and writer_of(found) != self.token:
            raise destination_taken(self.where)
        return found

    async def find(self, silence_s: float) -> dict[str, Any] | None:
        """Resource of the object there, whoever made it."""
        status, resource = await self.client.call(
            "GET",
            object_path(self.bucket, self.name),
            where=self.where,
            expected=(200, 404),
            silence_s=silence_s,
            params={"fields": FIELDS},
        )
        return resource if status == 200 else None

    async def check(self, resource: Mapping[str, Any], size: int, crc: int, silence_s: float) -> ObjectInfo:
        """Compare what the server has with what was sent; what differs is removed again.

        Raises:
            TransientError: `corrupt-transfer`: it differs.
        """
        info = info_of_resource(resource, self.location)
        if info.size == size and info.crc32c in (None, crc):
            return info
        await self.client.call(
            "DELETE",
            object_path(self.bucket, self.name),
            where=self.where,
            expected=(200, 204, 404, 412),
            silence_s=silence_s,
            params={"ifGenerationMatch": info.generation},
        )
        found = f"{info.size} bytes with the CRC-32C {info.crc32c or 0:08x}"
        problem = f"{size} bytes with the CRC-32C {crc:08x} were sent, and {found} arrived"
        raise TransientError(problem, kind=ErrorKind.CORRUPT_TRANSFER)

"""Objects in a bucket of S3, or of what speaks its protocol.

s3fs finds the credentials and the endpoint and holds the connections; repetition, lengths and checksums are
embsnap's own. Create-only writing relies on `If-None-Match: *`, which AWS has had since the end of 2024.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from typing import Any

from awscrt.checksums import crc32c

from embsnap.storage.base import Buffer, ObjectInfo, Writer
from embsnap.storage.client_options import timeout_of
from embsnap.storage.remote import Begin, EndsEarlyError, RemoteStore
from embsnap.storage.remote_errors import no_such_object
from embsnap.storage.retries import persist
from embsnap.storage.s3_client import S3Client
from embsnap.storage.s3_errors import failure_of
from embsnap.storage.s3_objects import info_of_answer, info_of_entry
from embsnap.storage.s3_uploads import S3Uploads
from embsnap.storage.s3_writer import S3Target, S3Writer, put_whole

__all__ = ["S3Store"]

_PIECE_BYTES = 1 << 20


class S3Store(RemoteStore):
    """The objects of one bucket whose keys start with one prefix."""

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        """Address the objects under `s3://bucket/prefix`; nothing is read.

        Raises:
            UsageError: s3fs is not installed, or has no such setting.
        """
        super().__init__(uri, timeout_of(options))
        self._bucket, _, prefix = self.uri.partition("://")[2].partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = S3Client(options, self.timeout_s)
        self._uploads = S3Uploads(self._client, self._bucket, self._prefix, self.uri)

    async def look(self, location: str, silence_s: float) -> ObjectInfo | None:
        """Ask once for an object's headers."""
        answer = await self._client.call("head_object", **self._key(location), expected=(404,), ChecksumMode="ENABLED")
        return None if answer is None else info_of_answer(answer, location, asked=None)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects under the prefix, sorted by the server; markers of directories are left out."""
        for page in self._pages(Prefix=self._prefix + prefix):
            for entry in page.get("Contents", ()):
                location = entry["Key"].removeprefix(self._prefix)
                if location and not location.endswith("/"):
                    yield info_of_entry(entry, location)

    def uploads(self) -> Iterator[ObjectInfo]:
        """Uploads in parts that were neither put together nor given up, by location."""
        yield from self.wait(persist(self._uploads.found, timeout_s=self.timeout_s, where=self.uri))

    def drop_upload(self, info: ObjectInfo) -> None:
        """Have the server forget the parts."""
        attempt = partial(self._uploads.drop, info)
        self.wait(persist(attempt, timeout_s=self.timeout_s, where=self.where(info.location)))

    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Names directly under a directory."""
        start = f"{self._prefix}{prefix.rstrip('/')}/" if prefix else self._prefix
        found: set[str] = set()
        for page in self._pages(Prefix=start, Delimiter="/"):
            found.update(entry["Key"] for entry in page.get("Contents", ()))
            found.update(entry["Prefix"] for entry in page.get("CommonPrefixes", ()))
        return tuple(sorted(name.removeprefix(start) for name in found - {start}))

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """Write a small object in one request, create-only."""
        target = self._target(location)
        with memoryview(data) as view, view.cast("B") as whole:
            attempt = partial(put_whole, target, bytes(whole), crc32c(whole))
            return self.wait(persist(attempt, timeout_s=self.timeout_s, where=target.where))

    def writer(self, location: str) -> Writer:
        """Start an object of any size."""
        return S3Writer(self._target(location), self.timeout_s)

    def delete(self, location: str) -> None:
        """Remove an object."""
        key = self._key(location)
        self.forget(location)

        async def attempt(silence_s: float) -> None:
            await self._client.call("delete_object", **key, expected=(404,))

        self.wait(persist(attempt, timeout_s=self.timeout_s, where=self.where(location)))

    async def receive(self, location: str, start: int, end: int | None, begin: Begin, silence_s: float) -> None:
        """Ask once for bytes of an object."""
        span = {"ChecksumMode": "ENABLED"} if end is None else {"Range": f"bytes={start}-{end - 1}"}
        answer = await self._client.call("get_object", **self._key(location), expected=(416,), **span)
        if answer is None:
            info = await self.look(location, silence_s)
            if info is None:
                raise no_such_object(self.where(location))
            self.note(location, info)
            raise EndsEarlyError(info.size)
        try:
            filler = begin(info_of_answer(answer, location, asked=None if end is None else (start, end)))
            async for chunk in _chunks(answer["Body"], self.where(location)):
                filler.feed(chunk)
        finally:
            answer["Body"].close()

    def _key(self, location: str) -> dict[str, str]:
        return {"where": self.where(location), "Bucket": self._bucket, "Key": self._prefix + location}

    def _target(self, location: str) -> S3Target:
        self.forget(location)
        return S3Target(self._client, self._bucket, self._prefix + location, location, self.where(location))

    def _pages(self, **parameters: str) -> Iterator[dict[str, Any]]:
        """Answers to a listing, each with up to a thousand objects; always asked of the server."""
        token: dict[str, str] = {}
        while True:
            attempt = partial(self._page, {**parameters, **token})
            page = self.wait(persist(attempt, timeout_s=self.timeout_s, where=self.uri))
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def _page(self, parameters: Mapping[str, Any], silence_s: float) -> dict[str, Any]:
        page = await self._client.call("list_objects_v2", where=self.uri, Bucket=self._bucket, **parameters)
        assert page is not None, "no failure is expected"
        return page


async def _chunks(body: Any, where: str) -> AsyncIterator[bytes]:
    """The bytes of an answer; what botocore raises in between, and its own check of the sum, as failures."""
    while True:
        try:
            chunk = await body.read(_PIECE_BYTES)
        except Exception as error:
            raise failure_of(error, where) from error
        if not chunk:
            return
        yield chunk

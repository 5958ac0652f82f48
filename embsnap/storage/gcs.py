"""Objects in a bucket of Google Cloud Storage.

gcsfs finds the credentials and the endpoint and holds the connections; requests, repetition, lengths and checksums
are embsnap's own, because those of gcsfs can neither be set nor relied on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from http.client import HTTPResponse
from typing import Any

from awscrt.checksums import crc32c

from embsnap.errors import ErrorKind, NotFoundError
from embsnap.storage.base import Buffer, ObjectInfo, Writer
from embsnap.storage.client_options import timeout_of
from embsnap.storage.gcs_client import GcsClient, object_path
from embsnap.storage.gcs_download import BEYOND_THE_END, download, fill
from embsnap.storage.gcs_objects import FIELDS, info_of_headers, info_of_resource
from embsnap.storage.gcs_target import Target
from embsnap.storage.gcs_upload import upload_whole
from embsnap.storage.gcs_writer import GcsWriter
from embsnap.storage.remote import Begin, EndsEarlyError, RemoteStore
from embsnap.storage.remote_errors import no_such_bucket, no_such_object
from embsnap.storage.retries import TransientError, persist

__all__ = ["GcsStore"]

_PAGE = "1000"
"""As many objects as the server lists at a time."""


class GcsStore(RemoteStore):
    """The objects of one bucket whose names start with one prefix."""

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        """Address the objects under `gs://bucket/prefix`; nothing is read.

        Raises:
            UsageError: `bad-option`: a setting that gcsfs does not have.
        """
        super().__init__(uri, timeout_of(options))
        self._bucket, _, prefix = self.uri.partition("://")[2].partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = GcsClient(options)

    async def look(self, location: str, silence_s: float) -> ObjectInfo | None:
        """Ask once for an object's metadata."""
        try:
            _, resource = await self._client.call(
                "GET",
                object_path(self._bucket, self._prefix + location),
                where=self.where(location),
                expected=(200,),
                silence_s=silence_s,
                params={"fields": FIELDS},
            )
        except NotFoundError as error:
            if error.kind is ErrorKind.NO_SUCH_OBJECT:
                return None
            raise
        return info_of_resource(resource, location)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects under the prefix, sorted by the server; markers of directories are left out."""
        for page in self._pages(prefix=self._prefix + prefix, fields=f"items({FIELDS}),nextPageToken"):
            for resource in page.get("items", ()):
                location = resource["name"].removeprefix(self._prefix)
                if location and not location.endswith("/"):
                    yield info_of_resource(resource, location)

    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Names directly under a directory."""
        start = f"{self._prefix}{prefix.rstrip('/')}/" if prefix else self._prefix
        fields = "items(name),prefixes,nextPageToken"
        found: set[str] = set()
        for page in self._pages(prefix=start, delimiter="/", fields=fields):
            found.update(resource["name"] for resource in page.get("items", ()))
            found.update(page.get("prefixes", ()))
        return tuple(sorted(name.removeprefix(start) for name in found - {start}))

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """Write a small object in one request, create-only."""
        target = self._target(location)
        with memoryview(data) as view, view.cast("B") as whole:
            attempt = partial(upload_whole, target, whole, crc32c(whole))
            return self.wait(persist(attempt, timeout_s=self.timeout_s, where=target.where))

    def writer(self, location: str) -> Writer:
        """Start an object of any size."""
        return GcsWriter(self._target(location), self.timeout_s)

    def delete(self, location: str) -> None:
        """Remove an object."""
        where = self.where(location)
        self.forget(location)

        async def attempt(silence_s: float) -> None:
            path = object_path(self._bucket, self._prefix + location)
            await self._client.call("DELETE", path, where=where, expected=(200, 204, 404), silence_s=silence_s)

        self.wait(persist(attempt, timeout_s=self.timeout_s, where=where))

    async def receive(self, location: str, start: int, end: int | None, begin: Begin, silence_s: float) -> None:
        """Ask once for bytes of an object."""
        where = self.where(location)

        def take(response: HTTPResponse) -> None:
            asked = (start, end) if end is not None and response.status == 206 else None
            info = info_of_headers(response.headers, location, where=where, asked=asked)
            if asked is None and end is not None and (start, end) != (0, info.size):
                raise TransientError(f"bytes {start}-{end - 1} were asked for, and all {info.size} sent")
            fill(begin(info), response)

        path = object_path(self._bucket, self._prefix + location)
        span = None if end is None else (start, end)
        status = await download(self._client.accounts, path, span, take, where=where, silence_s=silence_s)
        if status == BEYOND_THE_END:
            raise await self._beyond_the_end(location, silence_s)

    async def _beyond_the_end(self, location: str, silence_s: float) -> Exception:
        """What to raise where the server says that a range begins beyond the object's end."""
        info = await self.look(location, silence_s)
        if info is None:
            return no_such_object(self.where(location))
        self.note(location, info)
        return EndsEarlyError(info.size)

    def _target(self, location: str) -> Target:
        self.forget(location)
        return Target(self._client, self._bucket, self._prefix + location, location, self.where(location))

    def _pages(self, **params: str) -> Iterator[dict[str, Any]]:
        """Answers to a listing, each with up to a thousand objects; always asked of the server."""
        token = ""
        while True:
            page = self.wait(persist(partial(self._page, params, token), timeout_s=self.timeout_s, where=self.uri))
            yield page
            token = page.get("nextPageToken", "")
            if not token:
                return

    async def _page(self, params: Mapping[str, str], token: str, silence_s: float) -> dict[str, Any]:
        status, page = await self._client.call(
            "GET",
            object_path(self._bucket),
            where=self.uri,
            expected=(200, 404),
            silence_s=silence_s,
            params={**params, "maxResults": _PAGE, **({"pageToken": token} if token else {})},
        )
        if status == 404:
            raise no_such_bucket(self.uri, self._bucket)
        return page

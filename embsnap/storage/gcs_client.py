"""Requests to Google Cloud Storage's JSON API, for all but the bytes of objects: over the session of gcsfs.

Each call here is one attempt. What may be repeated is raised as `TransientError`; what may not is one of embsnap's
errors and says what to do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from embsnap.errors import EmbsnapError
from embsnap.storage.event_loop import in_thread
from embsnap.storage.gcs_account import GcsAccounts
from embsnap.storage.gcs_errors import failure_of
from embsnap.storage.retries import TransientError

__all__ = ["GcsClient", "object_path", "upload_path"]

_ERROR_BYTES = 1 << 16


def object_path(bucket: str, name: str | None = None) -> str:
    """Path of an object's metadata, or of the bucket's list of objects."""
    path = f"storage/v1/b/{quote(bucket, safe='')}/o"
    return path if name is None else f"{path}/{quote(name, safe='')}"


def upload_path(bucket: str) -> str:
    """Path that uploads begin at."""
    return f"upload/storage/v1/b/{quote(bucket, safe='')}/o"


class GcsClient:
    """One account's way to one endpoint; all of a process that were given the same settings share a session.

    Attributes:
        accounts: Who asks.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        """Check the settings; nothing is connected yet.

        Raises:
            UsageError: `bad-option`: gcsfs has no such setting.
        """
        self.accounts = GcsAccounts(options)

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        where: str,
        expected: tuple[int, ...],
        silence_s: float,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: AsyncIterator[bytes | memoryview] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request and its answer, which is gone at the end of the block.

        Args:
            method: Of HTTP.
            path: Under the endpoint, quoted; or a whole URL.
            where: URI that the request is about, for messages.
            expected: Status codes that the caller knows what to do with; all others are raised.
            silence_s: Seconds without a byte after which the attempt has failed.
            params: Query parameters, unquoted.
            headers: More headers.
            data: The request's body in pieces; its length stands in `headers`.

        Raises:
            EmbsnapError: The server refused; `gcs_errors` says which status is what.
            TransientError: The connection or the server failed; also from inside the block.
        """
        try:
            account = await self.accounts.current()
            session = await account.filesystem._set_session()
            own = account.headers() if account.is_anonymous else await in_thread(account.headers)
            # aiohttp's own limit begins when the body has been sent; this one ends when the answer begins
            async with asyncio.timeout(None) as sending:
                response = await session.request(
                    method,
                    URL(account.url(path, params or {}), encoded=True),
                    headers={**own, **(headers or {})},
                    proxy=account.origin.proxy or None,
                    data=data and _watched(data, sending, silence_s),
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s),
                )
            async with response:
                if response.status not in expected:
                    text = (await response.content.read(_ERROR_BYTES)).decode("utf-8", "replace")
                    raise failure_of(response.status, response.headers, text, where, account.who)
                yield response
        except (EmbsnapError, TransientError):
            raise
        except TimeoutError as error:
            raise TransientError(f"nothing arrived for {silence_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransientError(f"the connection failed: {error or type(error).__name__}") from error

    async def call(self, method: str, path: str, **request: Any) -> tuple[int, dict[str, Any]]:
        """One request, and the status and JSON that answer it; an empty answer to anything but GET is `{}`.

        Args:
            method: Of HTTP.
            path: As `request` takes it.
            request: Everything else that `request` takes.
        """
        async with self.request(method, path, **request) as response:
            body = await response.read()
        if not 200 <= response.status < 300:
            return response.status, {}
        if not body and method == "GET":
            raise TransientError("the answer is empty")
        try:
            answer = json.loads(body) if body else {}
        except ValueError as error:
            raise TransientError(f"the answer is no proper JSON: {error}") from error
        return response.status, answer


async def _watched(
    pieces: AsyncIterator[bytes | memoryview], limit: asyncio.Timeout, silence_s: float
) -> AsyncIterator[bytes | memoryview]:
    """A request's body, each piece of which the connection has to take within `silence_s` seconds."""
    now = asyncio.get_running_loop().time
    async for piece in pieces:
        limit.reschedule(now() + silence_s)
        yield piece
    limit.reschedule(None)

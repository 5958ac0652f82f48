"""Requests to Google Cloud Storage's JSON API: gcsfs's credentials, session and addresses, and nothing else of it.

Each call here is one attempt. What may be repeated is raised as `TransientError`; what may not is one of embsnap's
errors and says what to do.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from embsnap.errors import EmbsnapError
from embsnap.storage.client_options import client_settings
from embsnap.storage.event_loop import in_thread
from embsnap.storage.gcs_errors import credentials_failed, failure_of
from embsnap.storage.retries import TransientError

_EMULATOR = "STORAGE_EMULATOR_HOST"
if os.environ.get(_EMULATOR):
    # gcsfs would ask the emulator about each bucket by gRPC, which none answers, and wait for a minute each time
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

from gcsfs.core import GCSFileSystem  # noqa: E402

__all__ = ["GcsClient", "object_path", "upload_path"]

Result = TypeVar("Result")

_READ_BUFFER_BYTES = 1 << 20
_ERROR_BYTES = 1 << 16


def object_path(bucket: str, name: str | None = None) -> str:
    """Path of an object's metadata, or of the bucket's list of objects."""
    path = f"storage/v1/b/{quote(bucket, safe='')}/o"
    return path if name is None else f"{path}/{quote(name, safe='')}"


def upload_path(bucket: str) -> str:
    """Path that uploads begin at."""
    return f"upload/storage/v1/b/{quote(bucket, safe='')}/o"


class GcsClient:
    """One account's way to one endpoint; all of a process that were given the same settings share a session."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """Check the settings; nothing is connected yet.

        Raises:
            UsageError: `bad-option`: gcsfs has no such setting.
        """
        self._settings = client_settings(options, GCSFileSystem)
        self._filesystem: GCSFileSystem | None = None
        self._pid = -1

    async def _connected(self) -> GCSFileSystem:
        """gcsfs's object; another one after a fork, since connections and loops do not survive one.

        Raises:
            StorageError: `not-authenticated`: the credentials are no good.
            TransientError: Whoever issues them does not answer.
        """
        if self._pid != os.getpid():
            connect = partial(GCSFileSystem, **self._with_endpoint())
            self._filesystem, self._pid = await self._authenticating(connect), os.getpid()
        return self._filesystem

    async def _authenticating(self, function: Callable[[], Result]) -> Result:
        """The result of what looks for credentials or renews them, which may take its time."""
        try:
            return await in_thread(function)
        except Exception as error:
            raise credentials_failed(error) from error

    def _with_endpoint(self) -> dict[str, Any]:
        """The settings, and what follows from where the requests go."""
        settings = {"session_kwargs": {"auto_decompress": False}, **self._settings}
        given = settings.get("endpoint_url") or os.environ.get(_EMULATOR, "")
        if given not in ("", "default"):
            settings["endpoint_url"] = given if "://" in given else f"http://{given}"
            if settings["endpoint_url"].startswith("http://"):
                settings.setdefault("token", "anon")  # credentials do not travel unencrypted
        return settings

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
            filesystem = await self._connected()
            session = await filesystem._set_session()
            all_headers = {"Accept-Encoding": "identity", **await self._headers(filesystem), **(headers or {})}
            # aiohttp's own limit begins when the body has been sent; this one ends when the answer begins
            async with asyncio.timeout(None) as sending:
                response = await session.request(
                    method,
                    _url(filesystem, path, params or {}),
                    headers=all_headers,
                    data=data and _watched(data, sending, silence_s),
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s),
                    read_bufsize=_READ_BUFFER_BYTES,
                )
            async with response:
                if response.status not in expected:
                    text = (await response.content.read(_ERROR_BYTES)).decode("utf-8", "replace")
                    raise failure_of(response.status, response.headers, text, where, _account(filesystem))
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

    async def _headers(self, filesystem: GCSFileSystem) -> dict[str, str]:
        """User agent and authorization."""
        headers = partial(filesystem._get_headers, None)
        anonymous = filesystem.credentials.credentials is None
        return dict(headers() if anonymous else await self._authenticating(headers))


async def _watched(
    pieces: AsyncIterator[bytes | memoryview], limit: asyncio.Timeout, silence_s: float
) -> AsyncIterator[bytes | memoryview]:
    """A request's body, each piece of which the connection has to take within `silence_s` seconds."""
    now = asyncio.get_running_loop().time
    async for piece in pieces:
        limit.reschedule(now() + silence_s)
        yield piece
    limit.reschedule(None)


def _url(filesystem: GCSFileSystem, path: str, params: Mapping[str, str]) -> URL:
    base = path if "://" in path else f"{filesystem._location.rstrip('/')}/{path}"
    query = urlencode(filesystem._get_params(dict(params)), quote_via=quote)
    joint = "&" if "?" in base else "?"
    return URL(f"{base}{joint}{query}" if query else base, encoded=True)


def _account(filesystem: GCSFileSystem) -> str:
    """Who asks, for messages; empty for nobody."""
    credentials = filesystem.credentials.credentials
    if credentials is None:
        return ""
    return str(getattr(credentials, "service_account_email", "") or "the given credentials")

"""What gcsfs knows: whose credentials to show, which endpoint to ask, and the session for it. Nothing else of it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from embsnap.storage.client_options import client_settings
from embsnap.storage.event_loop import in_thread
from embsnap.storage.gcs_errors import credentials_failed
from embsnap.storage.http_get import Origin, proxy_of

_EMULATOR = "STORAGE_EMULATOR_HOST"
if os.environ.get(_EMULATOR):
    # gcsfs would ask the emulator about each bucket by gRPC, which none answers, and wait for a minute each time
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

from gcsfs import core as gcsfs  # noqa: E402

__all__ = ["GcsAccount", "GcsAccounts"]

Result = TypeVar("Result")


class GcsAccount:
    """One account at one endpoint, connected by the process that uses it.

    Attributes:
        filesystem: gcsfs's object.
        base: URL that paths are under.
        origin: Where its connections go.
        who: Who asks, for messages; empty for nobody.
    """

    def __init__(self, filesystem: gcsfs.GCSFileSystem) -> None:
        self.filesystem = filesystem
        self.base = str(filesystem._location).rstrip("/")
        credentials = filesystem.credentials.credentials
        self.is_anonymous = credentials is None
        given = getattr(credentials, "service_account_email", "") or "the given credentials"
        self.who = "" if self.is_anonymous else str(given)

    @cached_property
    def origin(self) -> Origin:
        """Where its connections go."""
        there = urlsplit(self.base)
        return Origin(f"{there.scheme}://{there.netloc}", proxy_of(self.base), self._context())

    def url(self, path: str, params: Mapping[str, str]) -> str:
        """Of a quoted path under the endpoint, or of a whole URL, with unquoted parameters."""
        base = path if "://" in path else f"{self.base}/{path}"
        query = urlencode(self.filesystem._get_params(dict(params)), quote_via=quote)
        joint = "&" if "?" in base else "?"
        return f"{base}{joint}{query}" if query else base

    def headers(self) -> dict[str, str]:
        """User agent and authorization, which may have to be renewed and take its time.

        Raises:
            StorageError: `not-authenticated`: the credentials are no good.
            TransientError: Whoever issues them does not answer.
        """
        try:
            return {"Accept-Encoding": "identity", **self.filesystem._get_headers(None)}
        except Exception as error:
            raise credentials_failed(error) from error

    def _context(self) -> ssl.SSLContext | None:
        """What shows a certificate of the account's own, where it has one; None for the usual."""
        if not (getattr(self.filesystem, "_use_client_cert", False) and self.base.startswith("https:")):
            return None
        context: ssl.SSLContext = gcsfs._client_cert_ssl_context()
        return context


class GcsAccounts:
    """From the settings that people give to the account that they mean."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """Check the settings; nothing is connected yet.

        Raises:
            UsageError: `bad-option`: gcsfs has no such setting.
        """
        self._settings = client_settings(options, gcsfs.GCSFileSystem)
        self._account: GcsAccount | None = None
        self._pid = -1

    async def current(self) -> GcsAccount:
        """The account; another one after a fork, since connections and loops do not survive one.

        Raises:
            StorageError: `not-authenticated`: the credentials are no good.
            TransientError: Whoever issues them does not answer.
        """
        if self._account is None or self._pid != os.getpid():
            filesystem = await _authenticating(partial(gcsfs.GCSFileSystem, **self._with_endpoint()))
            self._account, self._pid = GcsAccount(filesystem), os.getpid()
        return self._account

    def _with_endpoint(self) -> dict[str, Any]:
        """The settings, and what follows from where the requests go."""
        settings = {"session_kwargs": {"auto_decompress": False}, **self._settings}
        given = settings.get("endpoint_url") or os.environ.get(_EMULATOR, "")
        if given not in ("", "default"):
            settings["endpoint_url"] = given if "://" in given else f"http://{given}"
            if settings["endpoint_url"].startswith("http://"):
                settings.setdefault("token", "anon")  # credentials do not travel unencrypted
        return settings


async def _authenticating(function: Callable[[], Result]) -> Result:
    """The result of what looks for credentials, which may take its time."""
    try:
        return await in_thread(function)
    except Exception as error:
        raise credentials_failed(error) from error

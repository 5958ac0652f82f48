"""Requests to S3: s3fs's credentials, session and endpoint, and nothing else of it. Each call is one attempt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from embsnap.errors import EmbsnapError
from embsnap.storage.client_options import client_settings, file_system_class
from embsnap.storage.retries import TransientError
from embsnap.storage.s3_errors import answer_of, failure_of

__all__ = ["S3Client"]

_SHARE_OF_SILENCE = 0.25


class S3Client:
    """One account's way to one endpoint; all of a process that were given the same settings share a session."""

    def __init__(self, options: Mapping[str, str], timeout_s: float) -> None:
        """Check the settings; nothing is connected yet.

        Args:
            options: Settings of s3fs, as text.
            timeout_s: Of one request with all its repetitions; after a quarter of it without a byte an attempt fails.

        Raises:
            UsageError: s3fs is not installed (`missing-package`), or has no such setting (`bad-option`).
        """
        self._class = file_system_class("s3")
        settings = client_settings(options, self._class)
        silence_s = timeout_s * _SHARE_OF_SILENCE
        own = {"retries": {"max_attempts": 0}, "connect_timeout": silence_s, "read_timeout": silence_s}
        settings["config_kwargs"] = {**own, **(settings.get("config_kwargs") or {})}
        self._settings = {**settings, "use_listings_cache": False}
        self._filesystem: Any = None
        self._pid = -1

    async def call(
        self, method: str, *, where: str, expected: tuple[int, ...] = (), **parameters: Any
    ) -> dict[str, Any] | None:
        """One request of the S3 API.

        Args:
            method: As botocore names it: `get_object`.
            where: URI that it is about, for messages.
            expected: Status codes of failures that the caller knows what to do with: None is returned for them.
            parameters: As botocore names them.

        Raises:
            EmbsnapError: The server refused; `s3_errors` says what is what.
            TransientError: Another attempt may succeed.
        """
        try:
            answer: dict[str, Any] = await self._connected()._call_s3(method, **parameters)
        except (EmbsnapError, TransientError):
            raise
        except Exception as error:
            status, _, _ = answer_of(error)
            if status in expected:
                return None
            raise failure_of(error, where) from error
        return answer

    def _connected(self) -> Any:
        """s3fs's object; another one after a fork."""
        if self._pid != os.getpid():
            self._filesystem, self._pid = self._class(**self._settings), os.getpid()
            self._filesystem.retries = 1
        return self._filesystem

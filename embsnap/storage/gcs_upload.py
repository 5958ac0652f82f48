"""Uploads to Google Cloud Storage: a small object in one request, a large one in a resumable session.

Both are create-only by `ifGenerationMatch=0`. An object carries the token of its writer, so that a writer whose
reply was lost finds out whether the object that is there now is its own.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any

from embsnap.errors import ErrorKind, StorageError
from embsnap.storage.base import ObjectInfo
from embsnap.storage.gcs_client import upload_path
from embsnap.storage.gcs_objects import crc32c_text
from embsnap.storage.gcs_target import Target
from embsnap.storage.remote_errors import destination_taken, no_such_bucket
from embsnap.storage.retries import TransientError

__all__ = ["Session", "upload_whole"]

_PIECE_BYTES = 1 << 18
_BINARY = "application/octet-stream"
_KEPT = re.compile(r"bytes=0-(\d+)")


async def upload_whole(target: Target, data: memoryview, crc: int, silence_s: float) -> ObjectInfo:
    """One attempt to make an object in one request.

    Args:
        target: Where.
        data: All its bytes.
        crc: Their CRC-32C, which the server compares as well.
        silence_s: Seconds without a byte after which the attempt has failed.

    Raises:
        RefusedError: The location is taken.
    """
    boundary = f"embsnap-{secrets.token_hex(16)}"
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
        + target.described(crc32c=crc32c_text(crc))
        + f"\r\n--{boundary}\r\nContent-Type: {_BINARY}\r\n\r\n".encode()
    )
    tail = f"\r\n--{boundary}--\r\n".encode()
    status, resource = await target.client.call(
        "POST",
        upload_path(target.bucket),
        where=target.where,
        expected=(200, 404, 412),
        silence_s=silence_s,
        params={"uploadType": "multipart", "ifGenerationMatch": "0"},
        headers={
            "Content-Type": f'multipart/related; boundary="{boundary}"',
            "Content-Length": str(len(head) + len(data) + len(tail)),
        },
        data=_pieces(head, data, tail),
    )
    if status == 404:
        raise no_such_bucket(target.where, target.bucket)
    found = await target.find_mine(silence_s) if status == 412 else resource
    if found is None:
        raise TransientError("there was an object, and now there is none")
    return await target.check(found, len(data), crc, silence_s)


class Session:
    """A resumable upload: chunks in order, nothing visible before the last."""

    def __init__(self, target: Target) -> None:
        """Nothing is asked of the server yet."""
        self._target = target
        self._url: str | None = None
        self._kept = 0
        """Bytes that the server has said it holds."""

    async def start(self, silence_s: float) -> None:
        """One attempt to begin.

        Raises:
            RefusedError: The location is taken.
        """
        target, body = self._target, self._target.described()
        async with target.client.request(
            "POST",
            upload_path(target.bucket),
            where=target.where,
            expected=(200, 201, 404, 412),
            silence_s=silence_s,
            params={"uploadType": "resumable", "name": target.name, "ifGenerationMatch": "0"},
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "Content-Length": str(len(body)),
                "X-Upload-Content-Type": _BINARY,
            },
            data=_pieces(body),
        ) as response:
            if response.status == 404:
                raise no_such_bucket(target.where, target.bucket)
            if response.status == 412:
                raise destination_taken(target.where)
            url = response.headers.get("Location")
        if url is None:
            raise TransientError("the server began an upload without saying where")
        self._url = url

    async def send(self, chunk: memoryview, start: int, silence_s: float) -> None:
        """One attempt to upload a chunk that is not the last, from where the last attempt got to.

        Args:
            chunk: A multiple of 256 KiB.
            start: Its offset in the object.
            silence_s: Seconds without a byte after which the attempt has failed.
        """
        end = start + len(chunk)
        while self._kept < end:
            status, _ = await self._put(chunk[self._kept - start :], f"bytes {self._kept}-{end - 1}/*", end, silence_s)
            if status != 308:
                raise self._broken(f"status {status} for a part of it")

    async def finish(self, chunk: memoryview, start: int, silence_s: float) -> dict[str, Any]:
        """One attempt to upload the last chunk, which ends the session; returns the object's resource.

        Raises:
            RefusedError: The location is taken.
        """
        end = start + len(chunk)
        while True:
            span = f"{self._kept}-{end - 1}" if self._kept < end else "*"
            status, resource = await self._put(chunk[self._kept - start :], f"bytes {span}/{end}", end, silence_s)
            if status in (200, 201):
                return resource
            if status != 308:
                found = await self._target.find_mine(silence_s)  # the reply to an earlier attempt was lost
                if found is None:
                    raise self._broken(f"status {status} at its end")
                return found

    async def drop(self, silence_s: float) -> None:
        """One attempt to end the session without an object."""
        if self._url is None:
            return
        await self._target.client.call(
            "DELETE",
            self._url,
            where=self._target.where,
            expected=(200, 204, 308, 404, 410, 499),
            silence_s=silence_s,
        )

    async def _put(self, data: memoryview, span: str, end: int, silence_s: float) -> tuple[int, dict[str, Any]]:
        """Upload some bytes; notes how many the server holds afterwards."""
        assert self._url is not None, "started"
        async with self._target.client.request(
            "PUT",
            self._url,
            where=self._target.where,
            expected=(200, 201, 308, 404, 410, 412),
            silence_s=silence_s,
            headers={"Content-Range": span, "Content-Type": _BINARY, "Content-Length": str(len(data))},
            data=_pieces(data),
        ) as response:
            body = await response.read()
        if response.status == 308:
            self._note_kept(response.headers.get("Range"), end)
        return response.status, json.loads(body) if response.status in (200, 201) else {}

    def _note_kept(self, text: str | None, end: int) -> None:
        match = _KEPT.fullmatch(text or "bytes=0-0")
        if match is None:
            raise self._broken(f"it says that it holds {text!r}")
        kept = int(match[1]) + 1 if text else 0
        if not self._kept <= kept <= end:
            raise self._broken(f"{kept} bytes, after {end} were sent, {self._kept} of which it had acknowledged")
        if kept == self._kept and kept < end:
            raise TransientError("the server kept none of the bytes")
        self._kept = kept

    def _broken(self, found: str) -> StorageError:
        return StorageError(
            ErrorKind.STORAGE_FAILED,
            "the server lost track of the upload",
            where=self._target.where,
            found=found,
            hint="run the command again",
        )


async def _pieces(*parts: bytes | memoryview) -> AsyncIterator[bytes | memoryview]:
    """A request's body in pieces that do not hold up the event loop."""
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _PIECE_BYTES):
            yield view[start : start + _PIECE_BYTES]

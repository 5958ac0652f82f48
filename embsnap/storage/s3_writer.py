"""Writing objects to S3, create-only: a small one in one request, a large one in parts."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from awscrt.checksums import crc32c

from embsnap.errors import EmbsnapError, ErrorKind, StorageError
from embsnap.storage.base import Buffer, ObjectInfo, Writer
from embsnap.storage.event_loop import run
from embsnap.storage.remote_errors import destination_taken
from embsnap.storage.retries import TransientError, persist
from embsnap.storage.s3_client import S3Client
from embsnap.storage.s3_objects import WRITER, crc32c_text, info_of_answer

__all__ = ["PART_BYTES", "S3Target", "S3Writer", "put_whole"]

Result = TypeVar("Result")

PART_BYTES = 16 << 20
"""What a writer holds in memory, and sends at a time; S3 takes 10,000 parts of an object."""
_LONGEST_GOODBYE_S = 5.0


@dataclass(frozen=True, slots=True)
class S3Target:
    """Where one writer writes.

    Attributes:
        client: How to get there.
        bucket: Name.
        key: Of the object in the bucket.
        location: Of the object in its store.
        where: Its URI.
        token: Of this writer, and no other.
    """

    client: S3Client
    bucket: str
    key: str
    location: str
    where: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    async def call(self, method: str, *, expected: tuple[int, ...] = (), **parameters: Any) -> dict[str, Any] | None:
        """One request about the object."""
        return await self.client.call(
            method, where=self.where, expected=expected, Bucket=self.bucket, Key=self.key, **parameters
        )

    async def check(self, size: int, crc: int) -> ObjectInfo:
        """What is there now, if this writer made it.

        Raises:
            RefusedError: Another writer made it.
            StorageError: `corrupt-transfer`: size or checksum differ; it is removed again.
            TransientError: There is nothing.
        """
        answer = await self.call("head_object", expected=(404,), ChecksumMode="ENABLED")
        if answer is None:
            raise TransientError("the object is not there yet")
        if answer.get("Metadata", {}).get(WRITER) != self.token:
            raise destination_taken(self.where)
        info = info_of_answer(answer, self.location, asked=None)
        if info.size == size and info.crc32c in (None, crc):
            return info
        await self.call("delete_object")
        raise StorageError(
            ErrorKind.CORRUPT_TRANSFER,
            "did not arrive as it was sent, and was removed again",
            where=self.where,
            expected=f"{size} bytes with the CRC-32C {crc:08x}",
            found=f"{info.size} bytes with the CRC-32C {info.crc32c or 0:08x}",
            hint="run the command again",
        )


async def put_whole(target: S3Target, data: bytes, crc: int, silence_s: float) -> ObjectInfo:
    """One attempt to make an object in one request, and to look whether it is there.

    Raises:
        RefusedError: The location is taken.
    """
    sums = {"ChecksumAlgorithm": "CRC32C", "ChecksumCRC32C": crc32c_text(crc)}
    await target.call(
        "put_object", expected=(412,), Body=data, IfNoneMatch="*", Metadata={WRITER: target.token}, **sums
    )
    return await target.check(len(data), crc)


class S3Writer(Writer):
    """Collects parts; what fits into one is uploaded whole at the end, the rest part by part."""

    def __init__(self, target: S3Target, timeout_s: float) -> None:
        """Nothing is asked of the server before the first part is full.

        Args:
            target: Where to write.
            timeout_s: For one request with all its repetitions.
        """
        self._target = target
        self._timeout_s = timeout_s
        self._part = bytearray()
        self._sent = 0
        self._crc = 0
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []

    def write(self, data: Buffer) -> None:
        """Append `data`; a full part is sent when there is more to come."""
        with memoryview(data) as view, view.cast("B") as rest:
            self._crc = crc32c(rest, self._crc)
            done = 0
            while done < len(rest):
                if len(self._part) == PART_BYTES:
                    self._send_part()
                num_bytes = min(PART_BYTES - len(self._part), len(rest) - done)
                self._part += rest[done : done + num_bytes]
                done += num_bytes

    def close(self) -> ObjectInfo:
        """Send what is left, and compare size and CRC-32C with what the server has."""
        try:
            if self._upload is None:
                return self._persist(partial(put_whole, self._target, bytes(self._part), self._crc))
            self._send_part()
            info = self._persist(self._complete)
            self._upload = None
            return info
        finally:
            self.abort()

    def abort(self) -> None:
        """Have the server forget the parts; if that fails they stay, invisible, until the bucket's rules drop them."""
        upload, self._upload = self._upload, None
        self._part = bytearray()
        if upload is not None:
            timeout_s = min(self._timeout_s, _LONGEST_GOODBYE_S)
            with contextlib.suppress(EmbsnapError):
                run(persist(partial(self._forget, upload), timeout_s=timeout_s, where=self._target.where))

    def _send_part(self) -> None:
        if self._upload is None:
            self._upload = self._persist(self._start)
        self._parts.append(self._persist(partial(self._put_part, bytes(self._part))))
        self._sent += len(self._part)
        self._part = bytearray()

    async def _start(self, silence_s: float) -> str:
        answer = await self._target.call(
            "create_multipart_upload",
            ChecksumAlgorithm="CRC32C",
            ChecksumType="FULL_OBJECT",
            Metadata={WRITER: self._target.token},
        )
        assert answer is not None, "no failure is expected"
        return str(answer["UploadId"])

    async def _put_part(self, data: bytes, silence_s: float) -> dict[str, Any]:
        number, sum_ = len(self._parts) + 1, crc32c_text(crc32c(data))
        answer = await self._target.call(
            "upload_part",
            UploadId=self._upload,
            PartNumber=number,
            Body=data,
            ChecksumAlgorithm="CRC32C",
            ChecksumCRC32C=sum_,
        )
        assert answer is not None, "no failure is expected"
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32C": sum_}

    async def _complete(self, silence_s: float) -> ObjectInfo:
        await self._target.call(
            "complete_multipart_upload",
            expected=(404, 412),  # 404: the reply to an earlier attempt was lost
            UploadId=self._upload,
            MultipartUpload={"Parts": self._parts},
            ChecksumCRC32C=crc32c_text(self._crc),
            ChecksumType="FULL_OBJECT",
            IfNoneMatch="*",
        )
        return await self._target.check(self._sent, self._crc)

    async def _forget(self, upload: str, silence_s: float) -> None:
        await self._target.call("abort_multipart_upload", expected=(404,), UploadId=upload)

    def _persist(self, attempt: Callable[[float], Awaitable[Result]]) -> Result:
        return run(persist(attempt, timeout_s=self._timeout_s, where=self._target.where))

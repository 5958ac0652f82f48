"""Writing one object of any size to Google Cloud Storage, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from awscrt.checksums import crc32c

from embsnap.errors import EmbsnapError, ErrorKind, StorageError
from embsnap.storage.base import Buffer, ObjectInfo, Writer
from embsnap.storage.event_loop import run
from embsnap.storage.gcs_target import Target
from embsnap.storage.gcs_upload import Session, upload_whole
from embsnap.storage.retries import TransientError, persist

__all__ = ["CHUNK_BYTES", "GcsWriter"]

Result = TypeVar("Result")

CHUNK_BYTES = 16 << 20
"""What a writer holds in memory, and sends at a time; a multiple of the 256 KiB that the server wants."""
_LONGEST_GOODBYE_S = 5.0


class GcsWriter(Writer):
    """Collects chunks; what fits into one is uploaded whole at the end, the rest chunk by chunk."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        """Nothing is asked of the server before the first chunk is full.

        Args:
            target: Where to write.
            timeout_s: For one request with all its repetitions.
        """
        self._target = target
        self._timeout_s = timeout_s
        self._chunk = bytearray()
        self._sent = 0
        self._crc = 0
        self._session: Session | None = None

    def write(self, data: Buffer) -> None:
        """Append `data`; a full chunk is sent when there is more to come, so that the last one is never empty."""
        with memoryview(data) as view, view.cast("B") as rest:
            self._crc = crc32c(rest, self._crc)
            done = 0
            while done < len(rest):
                if len(self._chunk) == CHUNK_BYTES:
                    self._send_chunk()
                num_bytes = min(CHUNK_BYTES - len(self._chunk), len(rest) - done)
                self._chunk += rest[done : done + num_bytes]
                done += num_bytes

    def close(self) -> ObjectInfo:
        """Send what is left, and compare size and CRC-32C with what the server has."""
        try:
            with memoryview(self._chunk) as chunk:
                if self._session is None:
                    return self._persist(partial(upload_whole, self._target, chunk, self._crc))
                return self._finish(self._session, chunk)
        finally:
            self.abort()

    def abort(self) -> None:
        """End the session. If that fails, the server forgets it within a week; nothing of it was ever visible."""
        session, self._session = self._session, None
        self._chunk = bytearray()
        if session is not None:
            timeout_s = min(self._timeout_s, _LONGEST_GOODBYE_S)
            with contextlib.suppress(EmbsnapError):
                run(persist(session.drop, timeout_s=timeout_s, where=self._target.where))

    def _send_chunk(self) -> None:
        if self._session is None:
            session = Session(self._target)
            self._persist(session.start)
            self._session = session
        with memoryview(self._chunk) as chunk:
            self._persist(partial(self._session.send, chunk, self._sent))
        self._sent += len(self._chunk)
        self._chunk = bytearray()

    def _finish(self, session: Session, chunk: memoryview) -> ObjectInfo:
        info = self._persist(partial(self._finish_once, session, chunk))
        self._session = None
        return info

    async def _finish_once(self, session: Session, chunk: memoryview, silence_s: float) -> ObjectInfo:
        # not every server looks at the end whether the location is still free; and a lost reply is found here
        resource = await self._target.find_mine(silence_s) or await session.finish(chunk, self._sent, silence_s)
        try:
            return await self._target.check(resource, self._sent + len(chunk), self._crc, silence_s)
        except TransientError as error:
            if error.kind is not ErrorKind.CORRUPT_TRANSFER:
                raise
            problem, hint = "did not arrive as it was sent, and was removed again", "run the command again"
            raise StorageError(error.kind, problem, where=self._target.where, found=str(error), hint=hint) from error

    def _persist(self, attempt: Callable[[float], Awaitable[Result]]) -> Result:
        return run(persist(attempt, timeout_s=self._timeout_s, where=self._target.where))

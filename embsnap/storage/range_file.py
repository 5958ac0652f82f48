"""A seekable file over byte ranges of an object, for readers that want a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

__all__ = ["RangeFile"]

_FIRST_AHEAD_BYTES = 64 << 10
_LONGEST_AHEAD_BYTES = 8 << 20


class RangeFile(io.RawIOBase):
    """Reads exactly what is asked for, and ahead only where small reads follow each other."""

    def __init__(self, size: int, read_range: Callable[[int, memoryview], None]) -> None:
        """Begin at the start.

        Args:
            size: Of the object, in bytes.
            read_range: Fills a buffer with the bytes of the object from an offset on.
        """
        self._size = size
        self._read_range = read_range
        self._position = 0
        self._ahead = memoryview(b"")
        """Bytes from `_ahead_start` on that were read before they were asked for."""
        self._ahead_start = 0
        self._ahead_bytes = _FIRST_AHEAD_BYTES

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Offset of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset from the start, the position or the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"offset {base + offset} lies before the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or what is left of the file."""
        if self.closed:
            raise ValueError("read of closed file")
        with memoryview(buffer).cast("B") as whole:
            view = whole[: max(0, self._size - self._position)]
            done = self._take_ahead(view)
            if done < len(view):
                self._fetch(view[done:])
                done = len(view)
        return done

    def _take_ahead(self, view: memoryview) -> int:
        """Copy what is in hand already; moves on."""
        offset = self._position - self._ahead_start
        if not 0 <= offset < len(self._ahead):
            return 0
        done = min(len(view), len(self._ahead) - offset)
        view[:done] = self._ahead[offset : offset + done]
        self._position += done
        return done

    def _fetch(self, view: memoryview) -> None:
        """Read the rest of a request, and ahead if it goes on where the bytes in hand end; moves on."""
        follows = self._position == self._ahead_start + len(self._ahead)
        self._ahead_bytes = min(2 * self._ahead_bytes, _LONGEST_AHEAD_BYTES) if follows else _FIRST_AHEAD_BYTES
        num_bytes = min(self._ahead_bytes, self._size - self._position)
        if follows and num_bytes > len(view):
            block = memoryview(bytearray(num_bytes))
            self._read_range(self._position, block)
            view[:] = block[: len(view)]
            self._ahead, self._ahead_start = block, self._position
        else:
            self._read_range(self._position, view)
            self._ahead, self._ahead_start = memoryview(b""), self._position + len(view)
        self._position += len(view)

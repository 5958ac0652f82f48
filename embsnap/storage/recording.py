"""A store that remembers what was written through it, so that it can be taken back."""

from __future__ import annotations

from embsnap.storage.base import Buffer, ObjectInfo, Store, Writer
from embsnap.storage.wrappers import WrapperStore, WrapperWriter

__all__ = ["RecordingStore"]


class RecordingStore(WrapperStore):
    """Passes everything on.

    Attributes:
        written: The objects that are there because of it, in the order in which they became visible.
    """

    def __init__(self, inner: Store) -> None:
        """Wrap `inner`."""
        super().__init__(inner)
        self.written: list[ObjectInfo] = []

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """Recorded."""
        info = self.inner.create(location, data)
        self.written.append(info)
        return info

    def writer(self, location: str) -> Writer:
        """Recorded when it is closed."""
        return _RecordingWriter(self.inner.writer(location), self.written)

    def withdraw(self) -> None:
        """Delete what was written. What others wrote there stays."""
        while self.written:
            self.inner.delete(self.written.pop().location)


class _RecordingWriter(WrapperWriter):
    def __init__(self, inner: Writer, written: list[ObjectInfo]) -> None:
        super().__init__(inner)
        self._written = written

    def close(self) -> ObjectInfo:
        info = self.inner.close()
        self._written.append(info)
        return info

"""A store in which some objects are those of another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from embsnap.storage.base import ObjectInfo, RangeRead, Store
from embsnap.storage.wrappers import ReadOnlyStore

__all__ = ["MendedStore"]


class MendedStore(ReadOnlyStore):
    """Reads the damaged objects of a store from a donor instead, and writes nothing."""

    def __init__(self, inner: Store, donor: Store, mended: Sequence[str]) -> None:
        """Take the objects at the locations `mended` from `donor`."""
        super().__init__(inner)
        self._donor, self._mended = donor, frozenset(mended)

    def stat(self, location: str) -> ObjectInfo | None:
        """Of the store that has it."""
        return self._of(location).stat(location)

    def read(self, location: str, *, limit: int) -> bytes:
        """From the store that has it."""
        return self._of(location).read(location, limit=limit)

    def read_ranges(self, location: str, requests: Sequence[RangeRead]) -> None:
        """From the store that has it."""
        self._of(location).read_ranges(location, requests)

    def map(self, location: str) -> memoryview | None:
        """From the store that has it."""
        return self._of(location).map(location)

    def open(self, location: str) -> BinaryIO:
        """From the store that has it."""
        return self._of(location).open(location)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects of the inner store, and the donor's in the places of the mended ones, sorted."""
        found = {info.location: info for info in self.inner.list(prefix)}
        for location in self._mended:
            info = self._donor.stat(location) if location.startswith(prefix) else None
            if info is not None:
                found[location] = info
        return iter([found[location] for location in sorted(found)])

    def _of(self, location: str) -> Store:
        return self._donor if location in self._mended else self.inner

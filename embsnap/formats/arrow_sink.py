"""A store's writer as the file that pyarrow writes to."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from embsnap.storage.base import Buffer, Writer

__all__ = ["arrow_sink"]


def arrow_sink(writer: Writer) -> Any:
    """A `pyarrow.PythonFile` over `writer`, which whoever made it closes or aborts."""
    return pa.PythonFile(_Sink(writer), mode="w")


class _Sink:
    closed = False

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        self._writer.write(view)
        return len(view)

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Left to whoever made the writer."""

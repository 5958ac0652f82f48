"""Where a vocabulary's columns land: arrays made once for all files, filled piece by piece from any thread.

Shape suffixes: N entities.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.parquet import bytes_of, integers_of
from embsnap.model.vocabulary import BytesIds, Ids, IdType

__all__ = ["BytesArray", "IdArray", "IntegerArray", "MemoryLimit", "id_array"]


class MemoryLimit:
    """How much a vocabulary may take; taken from before the memory is."""

    def __init__(self, uri: str, limit_bytes: int) -> None:
        """Allow `limit_bytes` for the vocabulary at `uri`."""
        self._uri, self._limit, self._taken, self._lock = uri, limit_bytes, 0, threading.Lock()

    def take(self, num_bytes: int) -> None:
        """Account for `num_bytes` more.

        Raises:
            IncompatibleError: `bad-vocabulary`: that is more than there is.
        """
        with self._lock:
            self._taken += num_bytes
            if self._taken <= self._limit:
                return
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            "the vocabulary does not fit in memory",
            where=self._uri,
            expected=f"at most {self._limit:,} bytes of ids and rows",
            found=f"{self._taken:,} bytes or more",
            hint="check that the files are what they should be, or use a machine with more memory",
        )


class IntegerArray:
    """N integers of one dtype."""

    def __init__(self, num_rows: int, dtype: type[np.int64] | type[np.uint64], limit: MemoryLimit) -> None:
        """Make room for `num_rows` values."""
        limit.take(num_rows * 8)
        self.values_N: NDArray[Any] = np.empty(num_rows, dtype)

    def land(self, start: int, array: Any) -> NDArray[Any]:
        """Copy an Arrow integer array to `[start, start + len(array))` and return what landed.

        A uint64 of 2^63 or more becomes negative in an int64 array.
        """
        landed = self.values_N[start : start + len(array)]
        landed[:] = integers_of(array)
        return landed

    def ids(self) -> Ids:
        """The values as entity ids."""
        return self.values_N


class BytesArray:
    """N strings of bytes: their lengths at once in place, their bytes kept in pieces until the total is known."""

    def __init__(self, num_rows: int, limit: MemoryLimit) -> None:
        """Make room for the offsets of `num_rows` values."""
        limit.take(num_rows * 8)
        self._limit, self._offsets, self._pieces = limit, np.zeros(num_rows + 1, np.int64), dict[int, Any]()

    def land(self, start: int, array: Any) -> int:
        """Take over an Arrow string or binary array as values `[start, start + len(array))`; the longest's bytes."""
        offsets, data = bytes_of(array)
        lengths = self._offsets[start + 1 : start + 1 + len(array)]
        np.subtract(offsets[1:], offsets[:-1], out=lengths)
        piece = data[offsets[0] : offsets[-1]]
        self._limit.take(len(piece))
        self._pieces[start] = piece.copy()
        return int(lengths.max(initial=0))

    def ids(self) -> BytesIds:
        """The values, in order. The pieces are let go one by one, so that nothing is held twice."""
        np.cumsum(self._offsets, out=self._offsets)
        data = np.empty(int(self._offsets[-1]), np.uint8)
        for start in sorted(self._pieces):
            piece = self._pieces.pop(start)
            data[self._offsets[start] : self._offsets[start] + len(piece)] = piece
        return BytesIds(self._offsets, data)


IdArray = IntegerArray | BytesArray


def id_array(id_type: IdType, num_rows: int, limit: MemoryLimit) -> IdArray:
    """Room for `num_rows` entity ids of a type."""
    if id_type in (IdType.STRING, IdType.BINARY):
        return BytesArray(num_rows, limit)
    return IntegerArray(num_rows, np.uint64 if id_type is IdType.UINT64 else np.int64, limit)
